//! The history of a room of another server is read here, as far back as it goes.

use serde_json::{Value, json};
use testkit::TestCa;

use super::federation_joins::{Side, pair};

/// Sends messages `from` up to and without `to`.
fn send(side: &Side, room_id: &str, from: usize, to: usize) {
    for number in from..to {
        let path = format!("rooms/{room_id}/send/m.room.message/{number}");
        let text = number.to_string();
        side.ok("PUT", &path, &json!({ "msgtype": "m.text", "body": text }));
    }
}

/// Pages back from the end of the room to where there is no more, the newest event first.
fn read_back(side: &Side, room_id: &str, limit: usize) -> Vec<Value> {
    let mut events = Vec::new();
    let mut from = String::new();
    loop {
        let path = format!("rooms/{room_id}/messages?dir=b&limit={limit}{from}");
        let page = side.ok("GET", &path, &Value::Null);
        events.extend(page["chunk"].as_array().unwrap().iter().cloned());
        let Some(end) = page["end"].as_str() else {
            return events;
        };
        from = format!("&from={end}");
    }
}

/// The texts of the messages among events.
fn texts(events: &[Value]) -> Vec<&str> {
    let messages = events
        .iter()
        .filter(|event| event["type"] == "m.room.message");
    messages
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}

fn ids(events: &[Value]) -> Vec<Value> {
    let ids = events.iter().map(|event| event["event_id"].clone());
    ids.collect()
}

/// The time of the event next to a time; `None` if there is none.
fn at_time(side: &Side, room_id: &str, ts: u64, direction: &str) -> Option<u64> {
    let path =
        format!("/_matrix/client/v1/rooms/{room_id}/timestamp_to_event?ts={ts}&dir={direction}");
    let (status, answer) = side.call("GET", &path, &Value::Null);
    let found = answer["origin_server_ts"].as_u64();
    assert_eq!(status, if found.is_some() { 200 } else { 404 }, "{answer}");
    found
}

/// Numbers as texts, the highest first.
fn down(from: usize, to: usize) -> Vec<String> {
    (to..from).rev().map(|number| number.to_string()).collect()
}

#[test]
fn a_long_history_is_read_back_to_the_creation() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    send(&bob, &room_id, 0, 250);
    let topic = format!("rooms/{room_id}/state/m.room.topic");
    bob.ok("PUT", &topic, &json!({ "topic": "Tea" }));
    send(&bob, &room_id, 250, 500);
    assert_eq!(alice.join(&room_id, &bob).0, 200);

    let here = read_back(&alice, &room_id, 60);
    assert_eq!(texts(&here), down(500, 0));
    let there = read_back(&bob, &room_id, 1000);
    // All of it in the same order, back to the creation.
    assert_eq!(ids(&here), ids(&there));
    assert_eq!(here.last().unwrap()["type"], "m.room.create");
    // Once it is here, nobody is asked again.
    bob.server.terminate();
    assert_eq!(ids(&read_back(&alice, &room_id, 100)), ids(&here));

    // Members at a time long past are known, too.
    let old = here.iter().find(|event| event["content"]["body"] == "3");
    let event_id = old.unwrap()["event_id"].as_str().unwrap();
    let path = format!("rooms/{room_id}/context/{event_id}?limit=2");
    let context = alice.ok("GET", &path, &Value::Null);
    let state = context["state"].as_array().unwrap();
    let is_later = |event: &Value| {
        event["type"] == "m.room.topic" || event["state_key"] == alice.user.user_id.as_str()
    };
    assert!(!state.iter().any(is_later), "{state:?}");
    alice.server.terminate();
}

#[test]
fn without_the_other_server_what_is_known_is_returned_and_the_end_is_open() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    send(&bob, &room_id, 0, 5);
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    bob.server.terminate();
    let path = format!("rooms/{room_id}/messages?dir=b&limit=50");
    let page = alice.ok("GET", &path, &Value::Null);
    let events = page["chunk"].as_array().unwrap();
    assert_eq!(events[0]["state_key"], alice.user.user_id.as_str());
    assert!(page["end"].is_string(), "{page}");
    alice.server.terminate();
}

#[test]
fn what_was_sent_before_the_join_is_seen_as_the_history_visibility_was_then() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    let set = |visibility: &str| {
        let path = format!("rooms/{room_id}/state/m.room.history_visibility");
        bob.ok("PUT", &path, &json!({ "history_visibility": visibility }));
    };
    send(&bob, &room_id, 0, 2);
    set("joined");
    send(&bob, &room_id, 2, 4);
    set("shared");
    send(&bob, &room_id, 4, 6);
    set("invited");
    send(&bob, &room_id, 6, 8);
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    send(&bob, &room_id, 8, 9);

    // Waits until all members are known: before, the room is shown to clients that load members lazily.
    alice.ok("GET", &format!("rooms/{room_id}/members"), &Value::Null);
    let sync = alice.ok("GET", "sync?timeout=0", &Value::Null);
    assert!(sync["rooms"]["join"][&room_id].is_object());
    let mut events = read_back(&alice, &room_id, 3);
    events.retain(|event| event["content"]["body"] != "8");
    assert_eq!(texts(&events), ["5", "4", "1", "0"]);
    assert_eq!(events.last().unwrap()["type"], "m.room.create");
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn what_was_missed_between_two_stays_is_filled_in_between_them() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    send(&bob, &room_id, 0, 3);
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    assert_eq!(texts(&read_back(&alice, &room_id, 10)), down(3, 0));
    alice.ok("POST", &format!("rooms/{room_id}/leave"), &json!({}));
    let path = format!("rooms/{room_id}/state/m.room.member/{}", alice.user.user_id);
    let left = || bob.ok("GET", &path, &Value::Null)["membership"] == "leave";
    while !left() {
        std::thread::yield_now();
    }
    send(&bob, &room_id, 3, 153);
    assert_eq!(alice.join(&room_id, &bob).0, 200);

    let here = read_back(&alice, &room_id, 20);
    assert_eq!(texts(&here), down(153, 0));
    let there = read_back(&bob, &room_id, 1000);
    assert_eq!(ids(&here), ids(&there));
    alice.server.terminate();
    bob.server.terminate();
}

#[test]
fn events_long_past_are_found_by_time_and_by_id() {
    let ca = TestCa::new();
    let (alice, bob) = pair(&ca);
    let room_id = bob.create(&json!({ "preset": "public_chat" }));
    send(&bob, &room_id, 0, 300);
    assert_eq!(alice.join(&room_id, &bob).0, 200);
    let there = read_back(&bob, &room_id, 1000);
    let by_text = |text: &str| {
        let found = there.iter().find(|event| event["content"]["body"] == text);
        let found = found.unwrap();
        let ts = found["origin_server_ts"].as_u64().unwrap();
        (found["event_id"].as_str().unwrap(), ts)
    };

    let (wanted, ts) = by_text("20");
    for direction in ["f", "b"] {
        assert_eq!(at_time(&bob, &room_id, ts, direction), Some(ts));
        assert_eq!(at_time(&alice, &room_id, ts, direction), Some(ts));
    }
    assert_eq!(at_time(&alice, &room_id, 1, "b"), None);
    assert_eq!(at_time(&alice, &room_id, 2 * ts, "f"), None);
    let (linked, _) = by_text("150");
    let path = format!("rooms/{room_id}/event/{linked}");
    let event = alice.ok("GET", &path, &Value::Null);
    assert_eq!(event["content"]["body"], "150");
    let path = format!("rooms/{room_id}/event/$unknown");
    assert_eq!(alice.call("GET", &path, &Value::Null).0, 404);

    // What is around it is read from there.
    let path = format!("rooms/{room_id}/context/{wanted}?limit=10");
    let context = alice.ok("GET", &path, &Value::Null);
    let before = context["events_before"].as_array().unwrap();
    assert_eq!(texts(before), down(20, 15));
    let after = context["events_after"].as_array().unwrap();
    assert_eq!(texts(after), ["21", "22", "23", "24", "25"]);

    // All of it fits together in the end.
    assert_eq!(ids(&read_back(&alice, &room_id, 40)), ids(&there));
    alice.server.terminate();
    bob.server.terminate();
}
