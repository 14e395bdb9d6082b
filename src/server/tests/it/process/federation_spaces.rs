//! Spaces with rooms of two servers.

use serde_json::{Value, json};
use testkit::TestCa;

use super::federation_joins::{Side, pair};

fn space(side: &Side) -> String {
    side.create(&json!({
        "preset": "public_chat", "creation_content": { "type": "m.space" },
    }))
}

/// Puts a room of one server into a space of another.
fn put(side: &Side, space: &str, child: &str, of: &Side) {
    let path = format!("rooms/{space}/state/m.space.child/{child}");
    side.ok("PUT", &path, &json!({ "via": [of.name] }));
}

fn rooms(side: &Side, room_id: &str) -> Vec<Value> {
    let path = format!("/_matrix/client/v1/rooms/{room_id}/hierarchy");
    let answer = side.ok("GET", &path, &Value::Null);
    answer["rooms"].as_array().unwrap().clone()
}

fn ids(rooms: &[Value]) -> Vec<&str> {
    let ids = rooms.iter().map(|room| room["room_id"].as_str().unwrap());
    ids.collect()
}

#[test]
fn a_space_holds_rooms_and_spaces_of_another_server() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let root = space(&alice);
    let inner = space(&bob);
    let there = bob.create(&json!({ "preset": "public_chat", "name": "There" }));
    let hidden = bob.create(&json!({ "preset": "private_chat" }));
    let here = alice.create(&json!({ "preset": "public_chat", "name": "Here" }));
    put(&alice, &root, &inner, &bob);
    put(&bob, &inner, &there, &bob);
    put(&bob, &inner, &hidden, &bob);
    put(&bob, &inner, &here, &alice);

    let shown = rooms(&alice, &root);
    assert_eq!(ids(&shown), [&root, &inner, &there, &here]);
    assert_eq!(shown[1]["room_type"], "m.space");
    assert_eq!(shown[1]["children_state"][0]["state_key"], *there);
    assert_eq!(shown[2]["name"], "There");
    // What this server knows itself is not taken from another.
    assert_eq!(shown[3]["name"], "Here");

    let path = format!("/_matrix/client/v1/room_summary/{there}?via={}", bob.name);
    let summary = alice.ok("GET", &path, &Value::Null);
    assert_eq!(
        (&summary["name"], &summary["membership"]),
        (&json!("There"), &json!("leave"))
    );
    let path = format!("/_matrix/client/v1/room_summary/{hidden}?via={}", bob.name);
    let (status, refused) = alice.call("GET", &path, &Value::Null);
    assert_eq!((status, &refused["errcode"]), (404, &json!("M_NOT_FOUND")));
    // A room that the user is invited to is shown by its server.
    let invite = json!({ "user_id": alice.user.user_id });
    bob.ok("POST", &format!("rooms/{hidden}/invite"), &invite);
    let summary = alice.ok("GET", &path, &Value::Null);
    assert_eq!(summary["membership"], "invite");
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn a_restricted_room_of_another_server_is_shown_to_members_that_it_knows() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let root = space(&alice);
    let allow = json!([{ "type": "m.room_membership", "room_id": root }]);
    let restricted = bob.create(&json!({
        "preset": "private_chat",
        "initial_state": [{
            "type": "m.room.join_rules",
            "content": { "join_rule": "restricted", "allow": allow },
        }],
    }));
    put(&alice, &root, &restricted, &bob);
    // Its server does not know who is in the space.
    assert_eq!(ids(&rooms(&alice, &root)), [&root]);
    assert_eq!(bob.join(&root, &alice).0, 200);
    let shown = rooms(&alice, &root);
    assert_eq!(ids(&shown), [&root, &restricted]);
    assert_eq!(shown[1]["allowed_room_ids"], json!([root]));
    alice.server.terminate();
    bob.server.terminate();
}
