//! `/threads`, and what is returned with events of the events that relate to them.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, encoded};

async fn relate(
    user: &TestUser,
    room_id: &str,
    target: &str,
    rel_type: &str,
    text: &str,
) -> String {
    let content = json!({
        "msgtype": "m.text", "body": format!("* {text}"),
        "m.new_content": { "msgtype": "m.text", "body": text },
        "m.relates_to": { "event_id": target, "rel_type": rel_type },
    });
    user.send(room_id, &encoded(text), content).await
}

async fn reply(user: &TestUser, room_id: &str, root: &str, text: &str) -> String {
    relate(user, room_id, root, "m.thread", text).await
}

async fn threads(user: &TestUser, room_id: &str, query: &str) -> Value {
    let path = format!("/_matrix/client/v1/rooms/{room_id}/threads?{query}");
    user.get(&path).await.ok()
}

/// The roots with the last events of their threads.
fn roots(answer: &Value) -> Vec<(&str, &str)> {
    fn root(event: &Value) -> (&str, &str) {
        let latest = &event["unsigned"]["m.relations"]["m.thread"]["latest_event"];
        (
            event["event_id"].as_str().unwrap(),
            latest["event_id"].as_str().unwrap_or_default(),
        )
    }
    answer["chunk"]
        .as_array()
        .unwrap()
        .iter()
        .map(root)
        .collect()
}

async fn relations(user: &TestUser, room_id: &str, event_id: &str) -> Value {
    let mut event = user.event(room_id, event_id).await.ok();
    event["unsigned"]["m.relations"].take()
}

async fn redact(user: &TestUser, room_id: &str, event_id: &str) {
    let transaction = encoded(event_id);
    let path = format!("/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{transaction}");
    user.put(&path, json!({})).await.ok();
}

#[tokio::test]
async fn threads_are_listed_with_the_last_reply_first() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let first = alice.send_text(&room_id, "first").await;
    let second = alice.send_text(&room_id, "second").await;
    alice.send_text(&room_id, "no thread").await;
    assert_eq!(threads(&alice, &room_id, "").await, json!({ "chunk": [] }));
    let one = reply(&alice, &room_id, &first, "1").await;
    let two = reply(&bob, &room_id, &second, "2").await;
    let answer = threads(&alice, &room_id, "").await;
    assert_eq!(roots(&answer), [(&*second, &*two), (&*first, &*one)]);
    assert!(answer.get("next_batch").is_none());
    let three = reply(&bob, &room_id, &first, "3").await;
    let answer = threads(&alice, &room_id, "").await;
    assert_eq!(roots(&answer), [(&*first, &*three), (&*second, &*two)]);
    // What is redacted is no reply any more.
    redact(&bob, &room_id, &three).await;
    let answer = threads(&alice, &room_id, "").await;
    assert_eq!(roots(&answer), [(&*second, &*two), (&*first, &*one)]);
    redact(&bob, &room_id, &two).await;
    let answer = threads(&alice, &room_id, "").await;
    assert_eq!(roots(&answer), [(&*first, &*one)]);
}

#[tokio::test]
async fn threads_are_paginated_and_limited_to_those_taken_part_in() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let mut expected = Vec::new();
    for number in 0..5 {
        let sender = if number == 1 { &bob } else { &alice };
        let root = sender.send_text(&room_id, &format!("root {number}")).await;
        let replier = if number == 3 { &bob } else { &alice };
        reply(replier, &room_id, &root, &format!("reply {number}")).await;
        expected.insert(0, root);
    }
    let (mut listed, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let answer = threads(&bob, &room_id, &query).await;
        let page = roots(&answer);
        assert!(page.len() <= 2);
        listed.extend(page.iter().map(|(root, _)| (*root).to_owned()));
        let Some(next) = answer["next_batch"].as_str() else {
            break;
        };
        query = format!("limit=2&from={next}");
    }
    assert_eq!(listed, expected);
    let answer = threads(&bob, &room_id, "include=participated").await;
    let participated: Vec<&str> = roots(&answer).iter().map(|(root, _)| *root).collect();
    assert_eq!(participated, [&*expected[1], &*expected[3]]);
    let answer = threads(&bob, &room_id, "include=all&limit=100000").await;
    assert_eq!(roots(&answer).len(), 5);
}

#[tokio::test]
async fn malformed_requests_for_threads_are_refused() {
    let app = TestApp::start().await;
    let (alice, eve) = (app.user("alice").await, app.user("eve").await);
    let room_id = alice.create_room(json!({ "preset": "private_chat" })).await;
    for query in ["from=x", "include=some", "limit=0", "limit=x", "from=p"] {
        let path = format!("/_matrix/client/v1/rooms/{room_id}/threads?{query}");
        let answer = alice.get(&path).await;
        assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{query}");
    }
    let path = format!("/_matrix/client/v1/rooms/{room_id}/threads");
    assert_eq!(eve.get(&path).await.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn the_summary_of_a_thread_says_what_its_reader_may_know() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let root = alice.send_text(&room_id, "root").await;
    let first = reply(&alice, &room_id, &root, "1").await;
    let thread = relations(&bob, &room_id, &root).await["m.thread"].take();
    assert_eq!(thread["count"], 1);
    assert_eq!(thread["current_user_participated"], false);
    assert_eq!(thread["latest_event"]["event_id"], *first);
    assert_eq!(thread["latest_event"]["room_id"], *room_id);
    let thread = relations(&alice, &room_id, &root).await["m.thread"].take();
    assert_eq!(thread["current_user_participated"], true);
    reply(&bob, &room_id, &root, "2").await;
    let thread = relations(&bob, &room_id, &root).await["m.thread"].take();
    assert_eq!(
        (&thread["count"], &thread["current_user_participated"]),
        (&json!(2), &json!(true))
    );

    // Ignored users have not replied, and their threads look redacted.
    let ignored = json!({ "ignored_users": { alice.user_id.clone(): {} } });
    let path = format!(
        "/_matrix/client/v3/user/{}/account_data/m.ignored_user_list",
        bob.user_id
    );
    bob.put(&path, ignored).await.ok();
    let thread = relations(&bob, &room_id, &root).await["m.thread"].take();
    assert_eq!(thread["count"], 1);
    let answer = threads(&bob, &room_id, "").await;
    assert_eq!(answer["chunk"][0]["content"], json!({}));
    assert_eq!(answer["chunk"][0]["event_id"], *root);

    // Who has left sees no later replies.
    let carol = app.user("carol").await;
    carol.join(&room_id).await.ok();
    carol.leave(&room_id).await.ok();
    reply(&bob, &room_id, &root, "3").await;
    let thread = relations(&carol, &room_id, &root).await["m.thread"].take();
    assert_eq!(thread["count"], 2);
    assert_eq!(
        thread["latest_event"]["content"]["m.new_content"]["body"],
        "2"
    );
    let other = bob.send_text(&room_id, "other").await;
    reply(&bob, &room_id, &other, "4").await;
    let answer = threads(&carol, &room_id, "").await;
    assert_eq!(
        roots(&answer)
            .iter()
            .map(|(root, _)| *root)
            .collect::<Vec<_>>(),
        [&*root]
    );
}

#[tokio::test]
async fn edits_and_references_are_returned_with_events() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let event = alice.send_text(&room_id, "text").await;
    assert_eq!(relations(&alice, &room_id, &event).await, Value::Null);
    let reference = relate(&bob, &room_id, &event, "m.reference", "r1").await;
    let edit = relate(&alice, &room_id, &event, "m.replace", "e1").await;
    let latest = relate(&alice, &room_id, &event, "m.replace", "e2").await;
    // Others may not edit it, an edit needs new content, and edits are not edited.
    relate(&bob, &room_id, &event, "m.replace", "e3").await;
    let relation = json!({ "event_id": event, "rel_type": "m.replace" });
    let content = json!({ "body": "e4", "m.relates_to": relation });
    alice.send(&room_id, "e4", content).await;
    relate(&alice, &room_id, &latest, "m.replace", "e5").await;
    let found = relations(&bob, &room_id, &event).await;
    assert_eq!(
        found["m.reference"],
        json!({ "chunk": [{ "event_id": reference }] })
    );
    assert_eq!(found["m.replace"]["event_id"], *latest);
    assert!(found.get("m.thread").is_none());
    assert_eq!(relations(&bob, &room_id, &latest).await, Value::Null);
    redact(&alice, &room_id, &latest).await;
    let found = relations(&bob, &room_id, &event).await;
    assert_eq!(found["m.replace"]["event_id"], *edit);
    redact(&alice, &room_id, &event).await;
    let found = relations(&bob, &room_id, &event).await;
    assert!(found.get("m.replace").is_none());
    assert_eq!(found["m.reference"]["chunk"][0]["event_id"], *reference);
}

#[tokio::test]
async fn every_endpoint_returns_them() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let since = bob.since().await;
    let root = alice.send_text(&room_id, "root").await;
    let last = reply(&alice, &room_id, &root, "reply").await;
    let edit = relate(&alice, &room_id, &last, "m.replace", "edited").await;
    let check = |event: &Value, place: &str| {
        assert_eq!(event["event_id"], *root, "{place}");
        let latest = &event["unsigned"]["m.relations"]["m.thread"]["latest_event"];
        assert_eq!(latest["event_id"], *last, "{place}");
        let replaced = &latest["unsigned"]["m.relations"]["m.replace"]["event_id"];
        assert_eq!(*replaced, *edit, "{place}");
    };
    let with_id = |events: &Value| {
        let events = events.as_array().unwrap().iter();
        let mut found = events.filter(|event| event["event_id"] == *root);
        found.next().cloned().unwrap()
    };
    let rooms = format!("/_matrix/client/v3/rooms/{room_id}");
    check(&bob.event(&room_id, &root).await.ok(), "event");
    let messages = bob.get(&format!("{rooms}/messages?dir=b")).await.ok();
    check(&with_id(&messages["chunk"]), "messages");
    let context = bob.get(&format!("{rooms}/context/{root}")).await.ok();
    check(&context["event"], "context");
    let context = bob.get(&format!("{rooms}/context/{last}")).await.ok();
    check(&with_id(&context["events_before"]), "context before");
    let threads = threads(&bob, &room_id, "").await;
    check(&threads["chunk"][0], "threads");
    for query in ["", &since] {
        let sync = bob.sync(query).await;
        let timeline = &sync["rooms"]["join"][&room_id]["timeline"]["events"];
        check(&with_id(timeline), "sync");
    }
    let path = format!("/_matrix/client/v1/rooms/{room_id}/relations/{root}");
    let related = bob.get(&path).await.ok();
    let event = &related["chunk"][0];
    assert_eq!(event["event_id"], *last);
    let replaced = &event["unsigned"]["m.relations"]["m.replace"]["event_id"];
    assert_eq!(*replaced, *edit);
}

#[tokio::test]
async fn messages_are_filtered_by_their_relations() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let root = alice.send_text(&room_id, "root").await;
    let threaded = reply(&alice, &room_id, &root, "reply").await;
    let reference = relate(&alice, &room_id, &root, "m.reference", "reference").await;
    for (filter, expected) in [
        (
            json!({ "org.matrix.msc3874.rel_types": ["m.thread"] }),
            vec![&threaded],
        ),
        (
            json!({ "org.matrix.msc3874.rel_types": ["m.thread", "m.reference"] }),
            vec![&threaded, &reference],
        ),
        (
            json!({ "types": ["m.room.message"], "org.matrix.msc3874.not_rel_types": ["m.thread"] }),
            vec![&root, &reference],
        ),
    ] {
        let filter = encoded(&filter.to_string());
        let path =
            format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=f&limit=50&filter={filter}");
        let answer = alice.get(&path).await.ok();
        let events = answer["chunk"].as_array().unwrap().iter();
        let ids: Vec<&str> = events
            .map(|event| event["event_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, expected);
    }
    let filter = encoded(r#"{"org.matrix.msc3874.rel_types":"m.thread"}"#);
    let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=f&filter={filter}");
    assert_eq!(alice.get(&path).await.refused(), (400, "M_INVALID_PARAM"));
}
