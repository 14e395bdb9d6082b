//! Two processes on one database are one server.

use serde_json::{Value, json};

use super::{client::Client, server::Server};

const ENVIRONMENT: [(&str, &str); 2] = [
    ("CHANCERY_REGISTRATION", "open"),
    ("CHANCERY_RATE_LIMITS", "off"),
];

#[test]
fn users_of_two_processes_chat_and_see_each_other_type() {
    let one = Server::start(&ENVIRONMENT);
    let url = one.database_url();
    let [mode, limits] = ENVIRONMENT;
    let other = Server::start(&[mode, limits, ("CHANCERY_DATABASE_URL", &url)]);
    let (here, there) = (one.clients(), other.clients());

    let (alice, bob) = (
        Client::register(&here, "alice"),
        Client::register(&there, "bob"),
    );
    let room = json!({ "preset": "public_chat" });
    let room = alice.ok(&here, "POST", "createRoom", &room);
    let room_id = room["room_id"].as_str().unwrap();
    bob.ok(&there, "POST", &format!("join/{room_id}"), &json!({}));

    // A token of one process is valid at the other.
    let first = bob.ok(&there, "GET", "sync", &Value::Null);
    let alice_id = &alice.user_id;
    let typing = json!({ "typing": true, "timeout": 60_000 });
    alice.ok(
        &here,
        "PUT",
        &format!("rooms/{room_id}/typing/{alice_id}"),
        &typing,
    );
    let mut answer = first;
    let mut sync = |address: &str| {
        let since = answer["next_batch"].as_str().unwrap();
        let path = format!("sync?since={since}&timeout=60000");
        answer = bob.ok(address, "GET", &path, &Value::Null);
        answer["rooms"]["join"][room_id].clone()
    };
    let typists =
        |section: &Value| section["ephemeral"]["events"][0]["content"]["user_ids"].clone();
    assert_eq!(typists(&sync(&there)), json!([alice_id]));
    let message = json!({ "msgtype": "m.text", "body": "hello" });
    let path = format!("rooms/{room_id}/send/m.room.message/1");
    alice.ok(&here, "PUT", &path, &message);
    let section = sync(&here);
    assert_eq!(section["timeline"]["events"][0]["content"], message);
    let path = format!("rooms/{room_id}/send/m.room.message/2");
    alice.ok(&here, "PUT", &path, &message);
    let section = sync(&there);
    assert_eq!(section["timeline"]["events"][0]["content"], message);

    other.terminate();
    one.terminate();
}
