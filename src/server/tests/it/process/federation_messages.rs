//! What is sent in a room that two servers are in reaches the users of both.

use serde_json::{Value, json};
use testkit::TestCa;

use super::federation_joins::{Side, pair};

/// A client that waits for events by `/sync`.
pub(super) struct Waiting<'s> {
    side: &'s Side,
    since: String,
}

impl<'s> Waiting<'s> {
    /// Waits for what comes from now on.
    pub(super) fn on(side: &'s Side) -> Self {
        let answer = side.ok("GET", "sync?timeout=0", &Value::Null);
        let since = answer["next_batch"].as_str().unwrap().to_owned();
        Self { side, since }
    }

    /// The next section of the room with something in it, by the key of its kind.
    pub(super) fn section(&mut self, kind: &str, room_id: &str) -> Value {
        loop {
            let path = format!("sync?since={}&timeout=60000", self.since);
            let answer = self.side.ok("GET", &path, &Value::Null);
            answer["next_batch"]
                .as_str()
                .unwrap()
                .clone_into(&mut self.since);
            let section = &answer["rooms"][kind][room_id];
            if !section.is_null() {
                return section.clone();
            }
        }
    }

    /// The next events of the room's timeline, of one type: as many as are asked for.
    pub(super) fn events(&mut self, room_id: &str, event_type: &str, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        while found.len() < count {
            let section = self.section("join", room_id);
            let events = section["timeline"]["events"].as_array().unwrap();
            found.extend(
                events
                    .iter()
                    .filter(|event| event["type"] == event_type)
                    .cloned(),
            );
        }
        found
    }

    pub(super) fn texts(&mut self, room_id: &str, count: usize) -> Vec<String> {
        let events = self.events(room_id, "m.room.message", count);
        let text = |event: &Value| event["content"]["body"].as_str().unwrap().to_owned();
        events.iter().map(text).collect()
    }
}

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
