//! `/relations`.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser};

async fn relate(user: &TestUser, room_id: &str, target: &str, rel_type: &str, txn: &str) -> String {
    let relation = json!({ "event_id": target, "rel_type": rel_type });
    user.send(
        room_id,
        txn,
        json!({ "body": txn, "m.relates_to": relation }),
    )
    .await
}

async fn related(user: &TestUser, room_id: &str, path: &str) -> (Vec<String>, Value) {
    let path = format!("/_matrix/client/v1/rooms/{room_id}/relations/{path}");
    let mut page = user.get(&path).await.ok();
    let ids = page["chunk"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event_id"].as_str().unwrap().to_owned());
    (ids.collect(), page["next_batch"].take())
}

#[tokio::test]
async fn related_events_are_filtered_by_relation_and_event_type() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let root = alice.send_text(&room_id, "root").await;
    let thread = relate(&alice, &room_id, &root, "m.thread", "1").await;
    let relation = json!({ "m.relates_to": { "event_id": root, "rel_type": "m.thread" } });
    let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.dummy/2");
    let dummy = alice.put(&path, relation).await.ok()["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let edit = relate(&alice, &room_id, &root, "m.replace", "3").await;
    alice.send_text(&room_id, "unrelated").await;
    assert_eq!(
        related(&alice, &room_id, &root).await.0,
        [&*edit, &dummy, &thread]
    );
    let of_type = related(&alice, &room_id, &format!("{root}/m.thread"))
        .await
        .0;
    assert_eq!(of_type, [&*dummy, &thread]);
    let of_types = related(&alice, &room_id, &format!("{root}/m.thread/m.room.message"))
        .await
        .0;
    assert_eq!(of_types, [thread]);
}

#[tokio::test]
async fn related_events_are_paginated_both_ways() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let root = alice.send_text(&room_id, "root").await;
    let mut sent = Vec::new();
    for number in 0..7 {
        sent.push(relate(&alice, &room_id, &root, "m.thread", &number.to_string()).await);
        alice
            .send_text(&room_id, &format!("between {number}"))
            .await;
    }
    for direction in ["f", "b"] {
        let mut read = Vec::new();
        let mut query = format!("{root}?dir={direction}&limit=3");
        loop {
            let (ids, next) = related(&alice, &room_id, &query).await;
            read.extend(ids);
            let Some(next) = next.as_str() else { break };
            query = format!("{root}?dir={direction}&limit=3&from={next}");
        }
        assert_eq!(read, sent, "{direction}");
        sent.reverse();
    }
}

#[tokio::test]
async fn redacted_relations_are_omitted_and_non_members_are_forbidden() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({})).await;
    let root = alice.send_text(&room_id, "root").await;
    let reaction = relate(&alice, &room_id, &root, "m.annotation", "1").await;
    let path = format!("/_matrix/client/v3/rooms/{room_id}/redact/{reaction}/2");
    alice.put(&path, json!({})).await.ok();
    assert!(related(&alice, &room_id, &root).await.0.is_empty());
    let answer = bob
        .get(&format!(
            "/_matrix/client/v1/rooms/{room_id}/relations/{root}"
        ))
        .await;
    assert_eq!(answer.refused(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn related_events_are_read_on_from_where_a_sync_ended() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let root = alice.send_text(&room_id, "root").await;
    relate(&alice, &room_id, &root, "m.thread", "before").await;
    let from = alice.since().await.replace("since=", "from=");
    let mut sent = Vec::new();
    for txn in ["1", "2", "3"] {
        sent.push(relate(&alice, &room_id, &root, "m.thread", txn).await);
    }
    let query = format!("{root}?dir=f&limit=2&{from}");
    let (mut read, next) = related(&alice, &room_id, &query).await;
    assert_eq!(read.len(), 2);
    let query = format!("{root}?dir=f&limit=2&from={}", next.as_str().unwrap());
    read.extend(related(&alice, &room_id, &query).await.0);
    assert_eq!(read, sent);
}

#[tokio::test]
async fn recursion_finds_what_relates_indirectly_up_to_a_depth() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let root = alice.send_text(&room_id, "root").await;
    let reply = relate(&alice, &room_id, &root, "m.thread", "1").await;
    let edit = relate(&alice, &room_id, &reply, "m.replace", "2").await;
    let reaction = relate(&alice, &room_id, &edit, "m.annotation", "3").await;
    relate(&alice, &room_id, &reaction, "m.reference", "4").await;
    let path = format!("{root}?recurse=true");
    let all = related(&alice, &room_id, &path).await.0;
    assert_eq!(all, [&*reaction, &edit, &reply]);
    assert_eq!(related(&alice, &room_id, &root).await.0, [&*reply]);
    let path = format!("{root}/m.annotation?recurse=true&dir=f&limit=1");
    assert_eq!(related(&alice, &room_id, &path).await.0, [&*reaction]);
    let path = format!("/_matrix/client/v1/rooms/{room_id}/relations/{root}");
    let depth = async |query: &str| {
        let body = alice.get(&format!("{path}{query}")).await.ok();
        body.get("recursion_depth").cloned()
    };
    assert_eq!(depth("?recurse=true").await, Some(json!(3)));
    assert_eq!(depth("").await, None);
}
