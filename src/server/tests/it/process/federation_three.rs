//! Three servers that talk to each other.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::TestCa;

use super::{
    client::Client,
    federation_joins::{Side, pair},
    federation_messages::send,
    syncing::Waiting,
};

/// Waits until the user of a side sees the membership of another one in a room.
fn until_membership(waiting: &mut Waiting<'_>, room_id: &str, user: &Side, membership: &str) {
    loop {
        let events = waiting.events(room_id, "m.room.member", 1);
        let is_wanted = |event: &Value| {
            event["state_key"] == user.user.user_id && event["content"]["membership"] == membership
        };
        if events.iter().any(is_wanted) {
            return;
        }
    }
}

#[test]
fn a_restricted_room_is_joined_through_the_next_server_if_one_cannot_grant_it() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let carol = Side::start(&ca, "127.0.0.4", "carol");
    let club = alice.create(&json!({ "preset": "public_chat" }));
    let rules = json!({
        "type": "m.room.join_rules", "state_key": "",
        "content": {
            "join_rule": "restricted",
            "allow": [{ "type": "m.room_membership", "room_id": club }],
        },
    });
    // Alice alone may invite, and so vouch for others. The room's id names her server.
    let room_id = alice.create(&json!({
        "preset": "public_chat", "room_version": "11", "initial_state": [rules],
        "power_level_content_override": { "invite": 100 },
    }));
    for room in [&club, &room_id] {
        assert_eq!(bob.join(room, &alice).0, 200);
    }
    let mut at_bob = Waiting::on(&bob);
    assert_eq!(carol.join(&club, &alice).0, 200);
    until_membership(&mut at_bob, &club, &carol, "join");

    // Bob's server cannot grant it, and no other one is asked but those that are named.
    let (status, refusal) = carol.join(&room_id, &bob);
    assert_eq!(
        (status, &refusal["errcode"]),
        (400, &json!("M_UNABLE_TO_GRANT_JOIN"))
    );
    let both = format!("join/{room_id}?via={}&via={}", bob.name, alice.name);
    carol.ok("POST", &both, &json!({}));
    let joined = carol.state(&room_id, "m.room.member", &carol.user.user_id);
    assert_eq!(
        joined["join_authorised_via_users_server"],
        alice.user.user_id
    );
    until_membership(&mut at_bob, &room_id, &carol, "join");

    // Bob may invite now, but his server does not know any more who is in the other room.
    let mut levels = alice.state(&room_id, "m.room.power_levels", "");
    levels["users"][&bob.user.user_id] = json!(100);
    let path = format!("rooms/{room_id}/state/m.room.power_levels");
    alice.ok("PUT", &path, &levels);
    at_bob.events(&room_id, "m.room.power_levels", 1);
    carol.ok("POST", &format!("rooms/{room_id}/leave"), &json!({}));
    until_membership(&mut at_bob, &room_id, &carol, "leave");
    bob.ok("POST", &format!("rooms/{club}/leave"), &json!({}));
    let (status, refusal) = carol.join(&room_id, &bob);
    assert_eq!(
        (status, &refusal["errcode"]),
        (400, &json!("M_UNABLE_TO_AUTHORISE_JOIN"))
    );
    carol.ok("POST", &both, &json!({}));

    // A user of a server in the room who meets no condition is refused by it, whatever the others say.
    let dora = Client::register(&bob.server.clients(), "dora");
    alice.server.terminate();
    carol.server.terminate();
    let path = format!("join/{room_id}");
    let refused = dora.call(&bob.server.clients(), "POST", &path, &json!({}));
    assert_eq!(
        (refused.status, &refused.body["errcode"]),
        (403, &json!("M_FORBIDDEN"))
    );
    bob.server.terminate();
}

/// The state of a room: the id of each event, by type and state key.
fn state_ids(side: &Side, room_id: &str) -> BTreeMap<String, Value> {
    let state = side.ok("GET", &format!("rooms/{room_id}/state"), &Value::Null);
    let ids = state.as_array().unwrap().iter().map(|event| {
        let key = format!("{} {}", event["type"], event["state_key"]);
        (key, event["event_id"].clone())
    });
    ids.collect()
}

/// Says something on the side, as an event that follows all that is known there.
fn until_told(side: &Side, room_id: &str, text: &str, listeners: &mut [&mut Waiting<'_>]) {
    send(side, room_id, text);
    for listener in listeners {
        while !listener.texts(room_id, 1).contains(&text.to_owned()) {}
    }
}

#[test]
fn three_servers_agree_after_two_of_them_went_on_alone() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let carol = Side::start(&ca, "127.0.0.4", "carol");
    let [alice_id, bob_id, carol_id] = [&alice, &bob, &carol].map(|side| side.user.user_id.clone());
    let levels = json!({
        "users": { (&alice_id): 100, (&bob_id): 50, (&carol_id): 50 },
        "events": { "m.room.power_levels": 50 },
    });
    let room_id = alice.create(&json!({
        "preset": "public_chat", "room_version": "11", "power_level_content_override": levels,
    }));
    for side in [&bob, &carol] {
        assert_eq!(side.join(&room_id, &alice).0, 200);
    }
    // All have the room as the others have it.
    let mut at_bob = Waiting::on(&bob);
    until_told(&carol, &room_id, "ready", &mut [&mut at_bob]);

    let set = |side: &Side, event_type: &str, content: &Value| {
        side.ok(
            "PUT",
            &format!("rooms/{room_id}/state/{event_type}"),
            content,
        );
    };
    let with = |side: &Side, change: &dyn Fn(&mut Value)| {
        let mut levels = side.state(&room_id, "m.room.power_levels", "");
        change(&mut levels);
        set(side, "m.room.power_levels", &levels);
    };
    // Bob alone, and then Carol: topics and levels that conflict, and what does not.
    let (alice, carol) = (alice.stop(), carol.stop());
    set(&bob, "m.room.topic", &json!({ "topic": "Tea" }));
    set(&bob, "m.room.name", &json!({ "name": "Of Bob" }));
    with(&bob, &|levels| levels["events_default"] = json!(1));
    let bob = bob.stop();
    let carol = carol.start(&ca);
    set(&carol, "m.room.topic", &json!({ "topic": "Coffee" }));
    set(
        &carol,
        "m.room.avatar",
        &json!({ "url": "mxc://example.org/carol" }),
    );
    with(&carol, &|levels| levels["invite"] = json!(20));
    let (alice, bob) = (alice.start(&ca), bob.start(&ca));

    let (mut at_alice, mut at_bob, mut at_carol) =
        (Waiting::on(&alice), Waiting::on(&bob), Waiting::on(&carol));
    until_told(&bob, &room_id, "bob", &mut [&mut at_alice, &mut at_carol]);
    until_told(&carol, &room_id, "carol", &mut [&mut at_alice, &mut at_bob]);
    until_told(&alice, &room_id, "good", &mut [&mut at_bob, &mut at_carol]);

    let state = state_ids(&alice, &room_id);
    assert_eq!(state_ids(&bob, &room_id), state);
    assert_eq!(state_ids(&carol, &room_id), state);
    // What did not conflict is there from both.
    let name = alice.state(&room_id, "m.room.name", "");
    assert_eq!(name, json!({ "name": "Of Bob" }));
    let avatar = alice.state(&room_id, "m.room.avatar", "");
    assert_eq!(avatar, json!({ "url": "mxc://example.org/carol" }));
    for side in [alice, bob, carol] {
        side.server.terminate();
    }
}
