//! Users of one server in rooms of another: two servers that talk to each other over TLS.

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::TestCa;

use super::{
    client::Client,
    federation::{OPEN, Place},
    server::Server,
};

/// A server and a user of it.
pub(super) struct Side {
    place: Place,
    pub(super) server: Server,
    pub(super) name: String,
    pub(super) user: Client,
}

/// A server that does not run, and a user of it.
pub(super) struct Stopped {
    place: Place,
    data: TempDir,
    pub(super) user: Client,
}

impl Stopped {
    /// Starts the server again.
    pub(super) fn start(self, ca: &TestCa) -> Side {
        Side {
            name: self.place.name.clone(),
            server: self.place.start_on(self.data, ca.file(), OPEN),
            place: self.place,
            user: self.user,
        }
    }
}

impl Side {
    /// Starts a server at an address, with a user of this name.
    pub(super) fn start(ca: &TestCa, address: &str, name: &str) -> Self {
        Self::start_with(ca, address, name, OPEN)
    }

    /// The same with other settings.
    pub(super) fn start_with(ca: &TestCa, address: &str, name: &str, settings: &str) -> Self {
        let place = Place::new(ca, address);
        let server = place.start(ca.file(), settings);
        let user = Client::register(&server.clients(), name);
        Self {
            name: place.name.clone(),
            place,
            server,
            user,
        }
    }

    /// Stops the server.
    pub(super) fn stop(self) -> Stopped {
        Stopped {
            place: self.place,
            data: self.server.terminate(),
            user: self.user,
        }
    }

    /// Kills the server.
    pub(super) fn kill(self) -> Stopped {
        Stopped {
            place: self.place,
            data: self.server.kill(),
            user: self.user,
        }
    }

    pub(super) fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.user.call(&self.server.clients(), method, path, body);
        (answer.status, answer.body)
    }

    pub(super) fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        self.user.ok(&self.server.clients(), method, path, body)
    }

    pub(super) fn create(&self, request: &Value) -> String {
        let room = self.ok("POST", "createRoom", request);
        room["room_id"].as_str().unwrap().to_owned()
    }

    /// Joins by way of another server.
    pub(super) fn join(&self, room_id: &str, via: &Self) -> (u16, Value) {
        let path = format!("join/{room_id}?via={}", via.name);
        self.call("POST", &path, &json!({}))
    }

    /// The content of a state event.
    pub(super) fn state(&self, room_id: &str, event_type: &str, key: &str) -> Value {
        let path = format!("rooms/{room_id}/state/{event_type}/{key}");
        self.call("GET", &path, &Value::Null).1
    }

    pub(super) fn membership(&self, room_id: &str, user: &Self) -> Value {
        self.state(room_id, "m.room.member", &user.user.user_id)["membership"].clone()
    }

    /// The types and state keys of all state, sorted.
    pub(super) fn state_keys(&self, room_id: &str) -> Vec<(String, String)> {
        let state = self.ok("GET", &format!("rooms/{room_id}/state"), &Value::Null);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let events = state.as_array().unwrap().iter();
        let mut keys: Vec<_> = events
            .map(|event| (text(&event["type"]), text(&event["state_key"])))
            .collect();
        keys.sort();
        keys
    }
}

/// Two servers with a user each, Alice here and Bob there.
pub(super) fn pair(ca: &TestCa) -> (Side, Side) {
    (
        Side::start(ca, "127.0.0.2", "alice"),
        Side::start(ca, "127.0.0.3", "bob"),
    )
}

#[test]
fn a_public_room_of_another_server_is_joined_in_every_version() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    for version in 1..=12 {
        let request = json!({
            "preset": "public_chat", "room_version": version.to_string(), "name": "Tea",
            "room_alias_name": format!("tea{version}"),
        });
        let room_id = bob.create(&request);
        let path = format!("join/%23tea{version}:{}", bob.name);
        let joined = alice.ok("POST", &path, &json!({ "reason": "thirst" }));
        assert_eq!(joined["room_id"], room_id, "version {version}");

        // Both know the same room.
        assert_eq!(
            alice.state(&room_id, "m.room.name", ""),
            json!({ "name": "Tea" })
        );
        assert_eq!(
            alice.state_keys(&room_id),
            bob.state_keys(&room_id),
            "version {version}"
        );
        for side in [&alice, &bob] {
            assert_eq!(
                side.membership(&room_id, &alice),
                "join",
                "version {version}"
            );
        }
        let joined = bob.state(&room_id, "m.room.member", &alice.user.user_id);
        assert_eq!(joined["reason"], "thirst");
    }
    let rooms = alice.ok("GET", "sync?timeout=0", &Value::Null)["rooms"]["join"].clone();
    assert_eq!(rooms.as_object().unwrap().len(), 12);
    for room in rooms.as_object().unwrap().values() {
        assert_eq!(room["summary"]["m.joined_member_count"], 2);
    }
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn a_joined_room_is_written_to() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    // Again is no error.
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    let message = json!({ "msgtype": "m.text", "body": "Good evening" });
    let path = format!("rooms/{room_id}/send/m.room.message/1");
    let sent = alice.ok("PUT", &path, &message);
    let path = format!("rooms/{room_id}/messages?dir=b");
    let page = alice.ok("GET", &path, &Value::Null);
    let chunk = page["chunk"].as_array().unwrap();
    assert_eq!(chunk[0]["event_id"], sent["event_id"]);
    assert_eq!(chunk[1]["state_key"], alice.user.user_id.as_str());
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn who_may_not_join_is_refused() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let private = bob.create(&json!({ "preset": "private_chat" }));
    let (status, body) = alice.join(&private, &bob);
    assert_eq!((status, &body["errcode"]), (403, &json!("M_FORBIDDEN")));
    let (status, _) = alice.join("!unknown:127.0.0.4:1", &bob);
    assert_eq!(status, 404);

    // A room whose server ACL does not allow the server.
    let acl = json!({
        "type": "m.room.server_acl", "state_key": "",
        "content": { "allow": ["*"], "deny": ["127.0.0.2"] },
    });
    let closed = bob.create(&json!({ "preset": "public_chat", "initial_state": [acl] }));
    let (status, body) = alice.join(&closed, &bob);
    assert_eq!((status, &body["errcode"]), (403, &json!("M_FORBIDDEN")));

    // A user who is banned.
    let public = bob.create(&json!({ "preset": "public_chat" }));
    let ban = json!({ "user_id": alice.user.user_id });
    bob.ok("POST", &format!("rooms/{public}/ban"), &ban);
    assert_eq!(alice.join(&public, &bob).0, 403);
    alice.server.terminate();
    bob.server.terminate();
}

/// The room as `/sync` has it in the section, once it is there.
fn synced(side: &Side, section: &str, room_id: &str) -> Value {
    let rooms = side.ok("GET", "sync?timeout=0", &Value::Null);
    rooms["rooms"][section][room_id].clone()
}

#[test]
fn an_invited_user_of_another_server_sees_the_room_joins_it_or_declines() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    for version in ["1", "6", "10", "12"] {
        let request = json!({
            "preset": "private_chat", "room_version": version, "name": "Tea",
            "invite": [bob.user.user_id], "is_direct": true,
        });
        let room_id = alice.create(&request);
        assert_eq!(
            alice.membership(&room_id, &bob),
            "invite",
            "version {version}"
        );
        let invite = synced(&bob, "invite", &room_id);
        let shown = invite["invite_state"]["events"].as_array().unwrap();
        let event = |event_type: &str, key: &str| {
            let mut events = shown.iter();
            let found =
                events.find(|event| event["type"] == event_type && event["state_key"] == key);
            found.unwrap_or_else(|| panic!("{event_type} {key} in version {version}: {invite}"))
        };
        assert_eq!(event("m.room.name", "")["content"]["name"], "Tea");
        let own = event("m.room.member", &bob.user.user_id);
        assert_eq!(own["content"]["membership"], "invite");
        assert_eq!(own["content"]["is_direct"], true);
        assert_eq!(own["sender"], alice.user.user_id);

        // Joining needs no server to be named: the inviter's is known.
        let path = format!("rooms/{room_id}/join");
        bob.ok("POST", &path, &json!({}));
        assert_eq!(
            alice.membership(&room_id, &bob),
            "join",
            "version {version}"
        );
        assert_eq!(bob.state_keys(&room_id), alice.state_keys(&room_id));
        let joined = synced(&bob, "join", &room_id);
        assert_eq!(joined["summary"]["m.joined_member_count"], 2);

        let declined = alice.create(&request);
        let path = format!("rooms/{declined}/leave");
        bob.ok("POST", &path, &json!({ "reason": "no time" }));
        let left = alice.state(&declined, "m.room.member", &bob.user.user_id);
        assert_eq!(left, json!({ "membership": "leave", "reason": "no time" }));
        assert_eq!(synced(&bob, "invite", &declined), Value::Null);
        // Again is no error.
        bob.ok("POST", &path, &json!({}));
    }
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn an_invitation_is_withdrawn_and_a_knock_turned_down_for_a_user_of_another_server() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    for version in ["7", "12"] {
        let rules = json!({
            "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" },
        });
        let room_id = alice.create(&json!({
            "preset": "private_chat", "room_version": version, "initial_state": [rules],
            "invite": [bob.user.user_id],
        }));
        assert_ne!(synced(&bob, "invite", &room_id), Value::Null);
        let refuse = json!({ "user_id": bob.user.user_id, "reason": "not you" });
        let kick = format!("rooms/{room_id}/kick");
        alice.ok("POST", &kick, &refuse);
        until_left(&bob, &room_id, "not you");

        let path = format!("knock/{room_id}?via={}", alice.name);
        bob.ok("POST", &path, &json!({}));
        assert_ne!(synced(&bob, "knock", &room_id), Value::Null);
        let ban = json!({ "user_id": bob.user.user_id, "reason": "never" });
        alice.ok("POST", &format!("rooms/{room_id}/ban"), &ban);
        until_left(&bob, &room_id, "never");
    }
    alice.server.terminate();
    bob.server.terminate();
}

/// Waits until `/sync` has the room among those left, for that reason.
fn until_left(side: &Side, room_id: &str, reason: &str) {
    let filter = "%7B%22room%22%3A%7B%22include_leave%22%3Atrue%7D%7D";
    side.server.until(|_| {
        let path = format!("sync?timeout=0&filter={filter}");
        let rooms = side.ok("GET", &path, &Value::Null)["rooms"].clone();
        rooms["invite"][room_id].is_null()
            && rooms["knock"][room_id].is_null()
            && rooms["leave"][room_id].to_string().contains(reason)
    });
}

#[test]
fn an_invitation_of_a_server_that_is_gone_can_be_declined() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = alice.create(&json!({
        "preset": "private_chat", "invite": [bob.user.user_id],
    }));
    assert_ne!(synced(&bob, "invite", &room_id), Value::Null);
    alice.server.terminate();
    bob.ok("POST", &format!("rooms/{room_id}/leave"), &json!({}));
    assert_eq!(synced(&bob, "invite", &room_id), Value::Null);
    bob.ok("POST", &format!("rooms/{room_id}/forget"), &json!({}));
    bob.server.terminate();
}

#[test]
fn invitations_for_users_who_do_not_exist_fail() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = alice.create(&json!({ "preset": "private_chat" }));
    let nobody = json!({ "user_id": format!("@nobody:{}", bob.name) });
    let path = format!("rooms/{room_id}/invite");
    let (status, _) = alice.call("POST", &path, &nobody);
    assert_eq!(status, 404);
    let keys = alice.state_keys(&room_id);
    assert!(!keys.iter().any(|(_, key)| key.starts_with("@nobody")));
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn a_user_knocks_at_a_room_of_another_server_and_is_let_in() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let rules = json!({
        "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" },
    });
    let request = json!({ "preset": "private_chat", "name": "Tea", "initial_state": [rules] });
    let room_id = bob.create(&request);
    let path = format!("knock/{room_id}?via={}", bob.name);
    alice.ok("POST", &path, &json!({ "reason": "please" }));
    let knocking = bob.state(&room_id, "m.room.member", &alice.user.user_id);
    assert_eq!(knocking["membership"], "knock");
    assert_eq!(knocking["reason"], "please");
    let knocked = synced(&alice, "knock", &room_id);
    let shown = knocked["knock_state"]["events"].to_string();
    assert!(shown.contains("Tea"), "{knocked}");

    let invite = json!({ "user_id": alice.user.user_id });
    bob.ok("POST", &format!("rooms/{room_id}/invite"), &invite);
    assert_ne!(synced(&alice, "invite", &room_id), Value::Null);
    alice.ok("POST", &format!("rooms/{room_id}/join"), &json!({}));
    assert_eq!(bob.membership(&room_id, &alice), "join");
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn members_of_a_room_join_a_restricted_one_of_another_server() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let club = bob.create(&json!({ "preset": "public_chat" }));
    let rules = json!({
        "type": "m.room.join_rules", "state_key": "",
        "content": {
            "join_rule": "restricted",
            "allow": [{ "type": "m.room_membership", "room_id": club }],
        },
    });
    for version in ["8", "10", "12"] {
        let request = json!({
            "preset": "private_chat", "room_version": version, "initial_state": [rules],
        });
        let room_id = bob.create(&request);
        if version == "8" {
            assert_eq!(alice.join(&room_id, &bob).0, 403);
            assert_eq!(alice.join(&club, &bob).0, 200);
        }
        let (status, body) = alice.join(&room_id, &bob);
        assert_eq!(status, 200, "version {version}: {body}");
        for side in [&alice, &bob] {
            let joined = side.state(&room_id, "m.room.member", &alice.user.user_id);
            assert_eq!(joined["membership"], "join");
            assert_eq!(joined["join_authorised_via_users_server"], bob.user.user_id);
        }
    }
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn a_room_that_was_left_is_taken_up_as_it_is_when_it_is_joined_again() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let topic = json!({
        "type": "org.example.gone", "state_key": "", "content": { "here": true },
    });
    let request = json!({ "preset": "public_chat", "name": "Tea", "initial_state": [topic] });
    let room_id = bob.create(&request);
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    alice.ok("POST", &format!("rooms/{room_id}/leave"), &json!({}));
    let since = alice.ok("GET", "sync?timeout=0", &Value::Null)["next_batch"].clone();

    let path = format!("rooms/{room_id}/state/m.room.name");
    bob.ok("PUT", &path, &json!({ "name": "Coffee" }));
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    assert_eq!(
        alice.state(&room_id, "m.room.name", ""),
        json!({ "name": "Coffee" })
    );
    assert_eq!(alice.state_keys(&room_id), bob.state_keys(&room_id));
    let path = format!("sync?timeout=0&since={}", since.as_str().unwrap());
    let joined = alice.ok("GET", &path, &Value::Null)["rooms"]["join"][&room_id].clone();
    let events = joined["state"]["events"].to_string() + &joined["timeline"]["events"].to_string();
    assert!(events.contains("Coffee"), "{joined}");
    alice.server.terminate();
    bob.server.terminate();
}
