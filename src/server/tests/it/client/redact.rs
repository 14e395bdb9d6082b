//! `/redact`.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser};

async fn redact(user: &TestUser, room_id: &str, event_id: &str, txn: &str) -> crate::app::Answer {
    let path = format!("/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn}");
    user.put(&path, json!({ "reason": "mistake" })).await
}

#[tokio::test]
async fn redacted_event_loses_its_content_in_every_version() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    for version in ["9", "11", "12"] {
        let body = json!({ "preset": "public_chat", "room_version": version });
        let room_id = alice.create_room(body).await;
        bob.join(&room_id).await.ok();
        let event_id = alice.send_text(&room_id, "wrong").await;
        let redaction = redact(&alice, &room_id, &event_id, "r1").await.ok();
        let event = bob.event(&room_id, &event_id).await.ok();
        assert_eq!(event["content"], json!({}), "version {version}");
        let because = &event["unsigned"]["redacted_because"];
        assert_eq!(
            because["event_id"], redaction["event_id"],
            "version {version}"
        );
        assert_eq!(because["content"]["reason"], "mistake", "version {version}");
    }
}

#[tokio::test]
async fn same_transaction_redacts_once() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let event_id = alice.send_text(&room_id, "wrong").await;
    let first = redact(&alice, &room_id, &event_id, "r1").await.ok();
    let second = redact(&alice, &room_id, &event_id, "r1").await.ok();
    assert_eq!(first, second);
}

#[tokio::test]
async fn member_redacts_own_events_and_moderator_all() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let by_alice = alice.send_text(&room_id, "by alice").await;
    let by_bob = bob.send_text(&room_id, "by bob").await;
    assert_eq!(
        redact(&bob, &room_id, &by_alice, "1").await.refused(),
        (403, "M_FORBIDDEN")
    );
    assert_eq!(
        alice.event(&room_id, &by_alice).await.ok()["content"]["body"],
        "by alice"
    );
    redact(&alice, &room_id, &by_bob, "2").await.ok();
    assert_eq!(
        alice.event(&room_id, &by_bob).await.ok()["content"].get("body"),
        None::<&Value>
    );
    let own = bob.send_text(&room_id, "again").await;
    redact(&bob, &room_id, &own, "3").await.ok();
}

#[tokio::test]
async fn transaction_redacts_each_target_once() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let mut made = Vec::new();
    for text in ["one", "two"] {
        let event_id = alice.send_text(&room_id, text).await;
        let redaction = redact(&alice, &room_id, &event_id, "txn").await.ok();
        let event = alice.event(&room_id, &event_id).await.ok();
        assert_eq!(event["content"], json!({}));
        made.push(redaction["event_id"].clone());
    }
    assert_ne!(made[0], made[1]);
    let answer = alice.sync("").await;
    let events = &answer["rooms"]["join"][&room_id]["timeline"]["events"];
    let last = events.as_array().unwrap().last().unwrap();
    assert_eq!(last["event_id"], made[1]);
    assert_eq!(last["unsigned"]["transaction_id"], "txn");
}

#[tokio::test]
async fn redaction_without_target_is_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    for action in ["send/m.room.redaction/txn", "state/m.room.redaction"] {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/{action}");
        let answer = alice.put(&path, json!({ "reason": "regret" })).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{action}");
    }
}
