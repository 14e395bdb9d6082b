//! Sending, and reading back through `/messages` and `/context`.

use http::Method;
use serde_json::{Value, json};

use crate::app::{Client, TestApp, encoded, filter};

async fn page(client: &Client, room_id: &str, query: &str) -> Value {
    client
        .get(&format!(
            "/_matrix/client/v3/rooms/{room_id}/messages?{query}"
        ))
        .await
        .ok()
}

fn bodies(events: &Value) -> Vec<&str> {
    let events = events.as_array().unwrap().iter();
    events
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}

#[tokio::test]
async fn same_transaction_id_gives_the_same_event() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let other_room_id = alice.create_room(json!({})).await;
    let first = alice
        .send(&room_id, "abc", json!({ "body": "first" }))
        .await;
    let second = alice
        .send(&room_id, "abc", json!({ "body": "second" }))
        .await;
    assert_eq!(first, second);
    assert_eq!(
        alice.event(&room_id, &first).await.ok()["content"]["body"],
        "first"
    );
    let elsewhere = alice
        .send(&other_room_id, "abc", json!({ "body": "first" }))
        .await;
    assert_ne!(first, elsewhere);
}

#[tokio::test]
async fn sender_alone_sees_the_transaction_id() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let event_id = alice
        .send(&room_id, "abc", json!({ "body": "hello" }))
        .await;
    let own = alice.event(&room_id, &event_id).await.ok();
    assert_eq!(own["unsigned"]["transaction_id"], "abc");
    let seen = bob.event(&room_id, &event_id).await.ok();
    assert_eq!(seen["unsigned"].get("transaction_id"), None);
}

#[tokio::test]
async fn history_is_paginated_backwards_without_gaps_or_repeats() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let mut said = Vec::new();
    for number in 0..20 {
        said.push(format!("message {number}"));
        alice.send_text(&room_id, said.last().unwrap()).await;
    }
    for limit in [1, 3, 7, 50] {
        let mut read: Vec<String> = Vec::new();
        let mut query = format!("dir=b&limit={limit}");
        loop {
            let page = page(&alice, &room_id, &query).await;
            read.extend(bodies(&page["chunk"]).into_iter().map(str::to_owned));
            let Some(end) = page["end"].as_str() else {
                break;
            };
            query = format!("dir=b&limit={limit}&from={end}");
        }
        read.reverse();
        assert_eq!(read, said, "limit {limit}");
    }
}

#[tokio::test]
async fn history_is_paginated_forwards_from_the_beginning() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    for number in 0..5 {
        alice.send_text(&room_id, &number.to_string()).await;
    }
    let mut read: Vec<Value> = Vec::new();
    let mut query = "dir=f&limit=2".to_owned();
    loop {
        let page = page(&alice, &room_id, &query).await;
        read.extend(page["chunk"].as_array().unwrap().iter().cloned());
        let Some(end) = page["end"].as_str() else {
            break;
        };
        query = format!("dir=f&limit=2&from={end}");
    }
    assert_eq!(read[0]["type"], "m.room.create");
    assert_eq!(bodies(&Value::Array(read)), ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn messages_are_filtered_by_type_and_sender() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    alice.send_text(&room_id, "by alice").await;
    bob.send_text(&room_id, "by bob").await;
    let filter = encoded(&json!({ "types": ["m.room.message"] }).to_string());
    let found = page(&alice, &room_id, &format!("dir=b&filter={filter}")).await;
    assert_eq!(bodies(&found["chunk"]), ["by bob", "by alice"]);
    assert_eq!(found["chunk"].as_array().unwrap().len(), 2);
    let filter = json!({ "types": ["m.room.*"], "not_senders": [bob.user_id], "limit": 1 });
    let query = format!("dir=b&filter={}", encoded(&filter.to_string()));
    let found = page(&alice, &room_id, &query).await;
    assert_eq!(bodies(&found["chunk"]), ["by alice"]);
}

#[tokio::test]
async fn lazy_loading_includes_the_senders_members() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    bob.send_text(&room_id, "hello").await;
    let filter = encoded(&json!({ "lazy_load_members": true }).to_string());
    let found = page(&alice, &room_id, &format!("dir=b&limit=1&filter={filter}")).await;
    let state = found["state"].as_array().unwrap();
    assert_eq!(state.len(), 1);
    assert_eq!(state[0]["type"], "m.room.member");
    assert_eq!(state[0]["state_key"], bob.user_id);
}

#[tokio::test]
async fn non_members_and_unknown_rooms_are_forbidden_alike() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let unknown = format!("!does-not-exist:{}", app.server_name());
    for room_id in [room_id, unknown] {
        let answer = bob
            .get(&format!(
                "/_matrix/client/v3/rooms/{room_id}/messages?dir=b"
            ))
            .await;
        assert_eq!(answer.refused(), (403, "M_FORBIDDEN"), "{room_id}");
        let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/t");
        let answer = bob.put(&path, json!({ "body": "x" })).await;
        assert_eq!(answer.refused(), (403, "M_FORBIDDEN"), "{room_id}");
    }
}

#[tokio::test]
async fn context_shows_both_sides_of_an_event() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({ "name": "Budget" })).await;
    let mut ids = Vec::new();
    for number in 0..7 {
        ids.push(alice.send_text(&room_id, &number.to_string()).await);
    }
    let path = format!(
        "/_matrix/client/v3/rooms/{room_id}/context/{}?limit=4",
        ids[3]
    );
    let context = alice.get(&path).await.ok();
    assert_eq!(context["event"]["content"]["body"], "3");
    assert_eq!(bodies(&context["events_before"]), ["2", "1"]);
    assert_eq!(bodies(&context["events_after"]), ["4", "5"]);
    let kinds: Vec<&Value> = context["state"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["type"])
        .collect();
    assert!(kinds.contains(&&json!("m.room.name")), "{kinds:?}");
    let start = context["start"].as_str().unwrap();
    let before = page(&alice, &room_id, &format!("dir=b&limit=1&from={start}")).await;
    assert_eq!(bodies(&before["chunk"]), ["0"]);
    let end = context["end"].as_str().unwrap();
    let after = page(&alice, &room_id, &format!("dir=f&limit=1&from={end}")).await;
    assert_eq!(bodies(&after["chunk"]), ["6"]);
}

#[tokio::test]
async fn event_of_another_room_is_not_found() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let secret_room_id = alice.create_room(json!({})).await;
    let secret = alice.send_text(&secret_room_id, "secret").await;
    let room_id = bob.create_room(json!({})).await;
    assert_eq!(
        bob.event(&room_id, &secret).await.refused(),
        (404, "M_NOT_FOUND")
    );
    let context = format!("/_matrix/client/v3/rooms/{room_id}/context/{secret}");
    assert_eq!(bob.get(&context).await.refused(), (404, "M_NOT_FOUND"));
    let redact = format!("/_matrix/client/v3/rooms/{room_id}/redact/{secret}/t");
    assert!(bob.call(Method::PUT, &redact, "{}").await.status >= 400);
    assert_eq!(
        alice.event(&secret_room_id, &secret).await.ok()["content"]["body"],
        "secret"
    );
}

#[tokio::test]
async fn history_goes_on_from_where_a_sync_ended() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let from = alice.since().await.replace("since=", "from=");
    alice.send_text(&room_id, "one").await;
    let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message");
    let without_transaction = alice.post(&path, json!({ "body": "two" })).await;
    assert!(without_transaction.ok()["event_id"].is_string());
    let page = page(&alice, &room_id, &format!("dir=f&{from}")).await;
    assert_eq!(bodies(&page["chunk"]), ["one", "two"]);
    assert_eq!(page["chunk"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn lazy_loading_omits_senders_outside_the_page() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let mut tokens = Vec::new();
    for speaker in [&alice, &bob, &alice] {
        tokens.push(alice.since().await.replace("since=", ""));
        speaker.send_text(&room_id, "hello").await;
    }
    let lazy = filter(&json!({ "lazy_load_members": true }));
    let (bobs, own) = (
        format!("dir=f&from={}&to={}&{lazy}", tokens[1], tokens[2]),
        format!("dir=f&from={}&to={}&{lazy}", tokens[0], tokens[1]),
    );
    for (query, speaker) in [(bobs, &bob), (own, &alice)] {
        let page = page(&alice, &room_id, &query).await;
        assert_eq!(bodies(&page["chunk"]), ["hello"], "{query}");
        let state = page["state"].as_array().unwrap();
        assert_eq!(state.len(), 1, "{page}");
        assert_eq!(state[0]["state_key"], speaker.user_id);
        assert_eq!(state[0]["content"]["membership"], "join");
    }
}

#[tokio::test]
async fn files_are_found_by_having_a_url() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let file = json!({ "msgtype": "m.file", "body": "a.png", "url": "mxc://a.org/a" });
    alice.send(&room_id, "file", file).await;
    alice.send_text(&room_id, "text").await;
    let with_url = filter(&json!({ "contains_url": true }));
    let page = page(&alice, &room_id, &format!("dir=b&{with_url}")).await;
    assert_eq!(bodies(&page["chunk"]), ["a.png"]);
    assert!(
        page["start"].is_string() && page["end"].is_string(),
        "{page}"
    );
}

#[tokio::test]
async fn odd_event_of_a_context_is_a_later_one() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let mut sent = Vec::new();
    for text in ["a", "b", "c", "d", "e"] {
        sent.push(alice.send_text(&room_id, text).await);
    }
    for (limit, before, after) in [(3, 1, 2), (1, 0, 1), (0, 0, 0), (4, 2, 2)] {
        let path = format!(
            "/_matrix/client/v3/rooms/{room_id}/context/{}?limit={limit}",
            sent[2]
        );
        let context = alice.get(&path).await.ok();
        assert_eq!(bodies(&context["events_before"]).len(), before, "{limit}");
        assert_eq!(bodies(&context["events_after"]).len(), after, "{limit}");
    }
}
