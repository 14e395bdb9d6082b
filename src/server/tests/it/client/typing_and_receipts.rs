//! `/typing`, `/receipt` and `/read_markers`.

use serde_json::json;

use crate::app::{TestApp, encoded};

#[tokio::test]
async fn only_members_type_and_only_for_themselves() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let path = |user_id: &str| {
        format!(
            "/_matrix/client/v3/rooms/{room_id}/typing/{}",
            encoded(user_id)
        )
    };
    let typing = json!({ "typing": true, "timeout": 10_000 });
    alice.put(&path(&alice.user_id), typing.clone()).await.ok();
    alice
        .put(&path(&alice.user_id), json!({ "typing": false }))
        .await
        .ok();
    let other = alice.put(&path(&bob.user_id), typing.clone()).await;
    assert_eq!(other.refused(), (403, "M_FORBIDDEN"));
    let stranger = bob.put(&path(&bob.user_id), typing).await;
    assert_eq!(stranger.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn receipts_are_accepted_from_members_only() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let event_id = alice.say(&room_id, "hello").await;
    for kind in ["m.read", "m.read.private", "m.fully_read"] {
        let action = format!("receipt/{kind}/{event_id}");
        alice.room(&room_id, &action, json!({})).await.ok();
        let answer = bob.room(&room_id, &action, json!({})).await;
        assert_eq!(answer.refused(), (403, "M_FORBIDDEN"), "{kind}");
    }
    let unknown = format!("receipt/org.example/{event_id}");
    assert_eq!(alice.room(&room_id, &unknown, json!({})).await.status, 400);
    let markers = json!({ "m.fully_read": event_id, "m.read": event_id });
    alice
        .room(&room_id, "read_markers", markers.clone())
        .await
        .ok();
    let answer = bob.room(&room_id, "read_markers", markers).await;
    assert_eq!(answer.refused(), (403, "M_FORBIDDEN"));
}
