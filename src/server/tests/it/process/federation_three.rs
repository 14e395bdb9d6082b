//! Three servers that talk to each other.

use serde_json::{Value, json};
use testkit::TestCa;

use super::{
    client::Client,
    federation_joins::{Side, pair},
    federation_messages::Waiting,
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
    let refused = dora.call(&bob.server.clients(), "POST", &path, &Value::Null);
    assert_eq!(
        (refused.status, &refused.body["errcode"]),
        (403, &json!("M_FORBIDDEN"))
    );
    bob.server.terminate();
}
