//! What is sent in a room that two servers are in reaches the users of both.

use serde_json::{Value, json};
use testkit::TestCa;

use super::{
    federation_joins::{Side, pair},
    syncing::Waiting,
};

pub(super) fn send(side: &Side, room_id: &str, text: &str) {
    let path = format!("rooms/{room_id}/send/m.room.message/{text}");
    side.ok("PUT", &path, &json!({ "msgtype": "m.text", "body": text }));
}

#[test]
fn messages_state_and_kicks_reach_the_other_server() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    let (mut at_alice, mut at_bob) = (Waiting::on(&alice), Waiting::on(&bob));

    let texts = ["one", "two", "three"];
    for text in texts {
        send(&bob, &room_id, text);
    }
    assert_eq!(at_alice.texts(&room_id, 3), texts);
    let texts = ["four", "five", "six"];
    for text in texts {
        send(&alice, &room_id, text);
    }
    // Bob also receives what he sent himself.
    let received = at_bob.texts(&room_id, 6);
    let received: Vec<_> = received.iter().map(String::as_str).collect();
    assert_eq!(received, ["one", "two", "three", "four", "five", "six"]);

    let path = format!("rooms/{room_id}/state/m.room.topic");
    bob.ok("PUT", &path, &json!({ "topic": "Tea" }));
    let topic = at_alice.events(&room_id, "m.room.topic", 1);
    assert_eq!(topic[0]["content"], json!({ "topic": "Tea" }));
    assert_eq!(
        alice.state(&room_id, "m.room.topic", ""),
        json!({ "topic": "Tea" })
    );

    let kick = json!({ "user_id": alice.user.user_id, "reason": "Bedtime" });
    bob.ok("POST", &format!("rooms/{room_id}/kick"), &kick);
    let left = at_alice.section("leave", &room_id);
    let events = left["timeline"]["events"].as_array().unwrap();
    let kicked = events
        .iter()
        .any(|event| event["content"]["reason"] == "Bedtime");
    assert!(kicked, "{left}");
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn receipts_and_redactions_reach_the_other_server() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    let (mut at_alice, mut at_bob) = (Waiting::on(&alice), Waiting::on(&bob));
    send(&bob, &room_id, "tea");
    let message = at_alice.events(&room_id, "m.room.message", 1).remove(0);
    let event_id = message["event_id"].as_str().unwrap();
    assert_eq!(at_bob.texts(&room_id, 1), ["tea"]);

    let path = format!("rooms/{room_id}/receipt/m.read/{event_id}");
    alice.ok("POST", &path, &json!({}));
    let section = at_bob.section("join", &room_id);
    let receipt = &section["ephemeral"]["events"][0]["content"][event_id]["m.read"];
    assert!(receipt[&alice.user.user_id].is_object(), "{section}");

    let path = format!("rooms/{room_id}/redact/{event_id}/1");
    bob.ok("PUT", &path, &json!({}));
    at_alice.events(&room_id, "m.room.redaction", 1);
    let path = format!("rooms/{room_id}/event/{event_id}");
    let redacted = alice.ok("GET", &path, &Value::Null);
    assert_eq!(redacted["content"], json!({}));
    alice.server.terminate();
    bob.server.terminate();
}
