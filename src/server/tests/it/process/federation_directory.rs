//! Public rooms, and rooms that are upgraded, across two servers.

use serde_json::{Value, json};
use testkit::TestCa;

use super::{
    federation::OPEN,
    federation_joins::{Side, pair},
    syncing::Waiting,
};

const SHOWING: &str = "[federation]\nmode = \"open\"\npublic_rooms = true\n";

/// A server and its user Bob.
fn side(ca: &TestCa, address: &str, settings: &str) -> Side {
    Side::start_with(ca, address, "bob", settings)
}

#[test]
fn public_rooms_are_shown_to_other_servers_if_the_server_allows_it() {
    let ca = TestCa::new();
    let alice = side(&ca, "127.0.0.2", OPEN);
    let bob = side(&ca, "127.0.0.3", SHOWING);
    let listed = |name: &str, content: Value| {
        bob.create(&json!({
            "visibility": "public", "name": name, "creation_content": content,
        }))
    };
    let tea = listed("Tea", json!({}));
    let coffee = listed("Coffee", json!({}));
    // Nobody of another server could join it.
    listed("Here only", json!({ "m.federate": false }));
    let server = format!("server={}", bob.name);

    let page = alice.ok("GET", &format!("publicRooms?{server}"), &Value::Null);
    let rooms = page["chunk"].as_array().unwrap();
    let mut ids: Vec<_> = rooms
        .iter()
        .map(|room| room["room_id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    let mut wanted = [&*tea, &*coffee];
    wanted.sort_unstable();
    assert_eq!(ids, wanted);
    assert_eq!(page["total_room_count_estimate"], 2);

    let first = alice.ok(
        "GET",
        &format!("publicRooms?limit=1&{server}"),
        &Value::Null,
    );
    let next = first["next_batch"].as_str().unwrap();
    let path = format!("publicRooms?limit=1&since={next}&{server}");
    let second = alice.ok("GET", &path, &Value::Null);
    assert_ne!(first["chunk"][0]["room_id"], second["chunk"][0]["room_id"]);

    let filter = json!({ "filter": { "generic_search_term": "tea" } });
    let found = alice.ok("POST", &format!("publicRooms?{server}"), &filter);
    assert_eq!(found["chunk"].as_array().unwrap().len(), 1);
    assert_eq!(found["chunk"][0]["name"], "Tea");

    // The other one does not show its rooms.
    let path = format!("publicRooms?server={}", alice.name);
    let (status, _) = bob.call("GET", &path, &Value::Null);
    assert_ne!(status, 200);
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn members_on_another_server_follow_to_the_replacement_of_a_room() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let old = bob.create(&json!({ "preset": "public_chat", "room_version": "11" }));
    assert_eq!(alice.join(&old, &bob).0, 200);
    let path = format!("pushrules/global/room/{old}");
    alice.ok("PUT", &path, &json!({ "actions": [] }));
    let path = format!("user/{}/rooms/{old}/tags/u.work", alice.user.user_id);
    alice.ok("PUT", &path, &json!({}));

    let mut at_alice = Waiting::on(&alice);
    let body = json!({ "new_version": "12" });
    let upgraded = bob.ok("POST", &format!("rooms/{old}/upgrade"), &body);
    let new = upgraded["replacement_room"].as_str().unwrap();
    // The tombstone arrives, with which the client finds the replacement.
    let tombstone = at_alice.events(&old, "m.room.tombstone", 1);
    assert_eq!(tombstone[0]["content"]["replacement_room"], new);
    assert_eq!(alice.join(new, &bob).0, 200);
    let path = format!("pushrules/global/room/{new}");
    assert_eq!(alice.ok("GET", &path, &Value::Null)["actions"], json!([]));
    let path = format!("user/{}/rooms/{new}/tags", alice.user.user_id);
    assert_eq!(
        alice.ok("GET", &path, &Value::Null)["tags"],
        json!({ "u.work": {} })
    );
    alice.server.terminate();
    bob.server.terminate();
}
