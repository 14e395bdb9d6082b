//! Gateways that fail, and push keys that they do not know.

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, alice, bob, read, started};

/// The bodies that arrive until one has arrived that the gateway has accepted.
async fn bodies_until(gateway: &mut Gateway, last: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|body| body != last) {
        let next = gateway.next().await;
        bodies.extend(next["content"]["body"].as_str().map(str::to_owned));
    }
    bodies
}

#[tokio::test]
async fn what_a_gateway_missed_is_sent_when_it_is_back() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    gateway.answer(Answer::Fail);
    room.message(db, &alice(), "one").await;
    assert_eq!(gateway.next().await["content"]["body"], "one");
    room.message(db, &alice(), "two").await;
    // It is tried again, without end.
    for _ in 0..3 {
        assert_eq!(gateway.next().await["content"]["body"], "one");
    }
    gateway.answer(Answer::Accept);
    let bodies = bodies_until(&mut gateway, "two").await;
    let (last, before) = bodies.split_last().expect("a message");
    assert_eq!(last, "two");
    assert!(before.iter().all(|body| body == "one"), "{before:?}");
    // From then on each is sent once.
    room.message(db, &alice(), "three").await;
    assert_eq!(bodies_until(&mut gateway, "three").await, ["three"]);
}

#[tokio::test]
async fn what_was_read_meanwhile_is_not_sent() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    gateway.answer(Answer::Fail);
    let event_id = room.message(db, &alice(), "one").await;
    gateway.next().await;
    read(&process, &room, &bob(), &event_id).await;
    loop {
        let told = gateway.next().await;
        if told["event_id"] == Value::Null {
            assert_eq!(told["counts"], json!({ "unread": 0 }));
            break;
        }
    }
    gateway.answer(Answer::Accept);
    room.message(db, &alice(), "two").await;
    assert_eq!(bodies_until(&mut gateway, "two").await, ["two"]);
}

#[tokio::test]
async fn a_rejected_push_key_is_removed_and_the_others_stay() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    process.pusher(&bob(), "old", &gateway).await;
    gateway.answer(Answer::Reject("old"));
    room.message(db, &alice(), "one").await;
    let mut told = [gateway.next().await, gateway.next().await].map(push_key);
    told.sort();
    assert_eq!(told, ["key", "old"]);
    room.message(db, &alice(), "two").await;
    assert_eq!(push_key(gateway.next().await), "key");
    // The first batch was recorded before the second one was sent.
    assert_eq!(process.push_keys(&bob()).await, ["key"]);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_does_not_hold_up_others() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    let carol = ruma::owned_user_id!("@carol:test.localhost");
    room.member(db, &carol, &carol, "join").await;
    let nobody = json!({ "url": "http://127.0.0.1:1/_matrix/push/v1/notify" });
    process.pusher_with(&carol, "gone", nobody).await;
    for body in ["one", "two", "three"] {
        room.message(db, &alice(), body).await;
    }
    assert_eq!(
        bodies_until(&mut gateway, "three").await,
        ["one", "two", "three"]
    );
    // What became of a batch is recorded after all of it was sent.
    loop {
        let pushers = process.push.pushers(&carol).await.expect("pushers");
        if pushers[0].sent_until.is_some() && pushers[0].failures > 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

fn push_key(notification: Value) -> String {
    let key = notification["devices"][0]["pushkey"].as_str();
    key.expect("a push key").to_owned()
}
