//! Who sees which events: `m.room.history_visibility` over HTTP.

use serde_json::json;

use crate::app::{TestApp, TestUser};

async fn room_with(alice: &TestUser, visibility: &str) -> String {
    let content = json!({ "history_visibility": visibility });
    let initial = json!([{ "type": "m.room.history_visibility", "content": content }]);
    alice
        .create_room(json!({ "preset": "public_chat", "initial_state": initial }))
        .await
}

#[tokio::test]
async fn member_fetches_an_event_with_all_its_fields() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = room_with(&alice, "shared").await;
    bob.join(&room_id).await.ok();
    let event_id = alice.send_text(&room_id, "hello").await;
    let event = bob.event(&room_id, &event_id).await.ok();
    assert_eq!(
        event["content"],
        json!({ "msgtype": "m.text", "body": "hello" })
    );
    assert_eq!(event["type"], "m.room.message");
    assert_eq!(event["room_id"], room_id);
    assert_eq!(event["sender"], alice.user_id);
    assert_eq!(event["event_id"], event_id);
    assert!(event["origin_server_ts"].is_u64());
    assert_eq!(event["unsigned"]["membership"], "join");
}

#[tokio::test]
async fn events_before_the_join_are_shown_as_the_room_decides() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for (visibility, seen) in [
        ("joined", false),
        ("invited", false),
        ("shared", true),
        ("world_readable", true),
    ] {
        let bob = app
            .user(&format!("bob-{}", visibility.replace('_', "-")))
            .await;
        let room_id = room_with(&alice, visibility).await;
        let event_id = alice.send_text(&room_id, "before").await;
        bob.join(&room_id).await.ok();
        let answer = bob.event(&room_id, &event_id).await;
        assert_eq!(answer.status == 200, seen, "{visibility}: {}", answer.body);
        if !seen {
            assert_eq!(answer.refused(), (404, "M_NOT_FOUND"));
        }
    }
}

#[tokio::test]
async fn invited_history_begins_with_the_invite() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = room_with(&alice, "invited").await;
    let before = alice.send_text(&room_id, "before").await;
    alice.invite(&room_id, &bob).await.ok();
    let between = alice.send_text(&room_id, "between").await;
    bob.join(&room_id).await.ok();
    assert_eq!(bob.event(&room_id, &before).await.status, 404);
    assert_eq!(bob.event(&room_id, &between).await.status, 200);
}

#[tokio::test]
async fn non_members_see_only_world_readable_rooms() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    for (visibility, status) in [("shared", 404), ("world_readable", 200)] {
        let room_id = room_with(&alice, visibility).await;
        let event_id = alice.send_text(&room_id, "hello").await;
        assert_eq!(
            bob.event(&room_id, &event_id).await.status,
            status,
            "{visibility}"
        );
    }
}

#[tokio::test]
async fn former_member_sees_shared_history_up_to_the_leave() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = room_with(&alice, "joined").await;
    bob.join(&room_id).await.ok();
    let during = alice.send_text(&room_id, "during").await;
    bob.leave(&room_id).await.ok();
    let after = alice.send_text(&room_id, "after").await;
    assert_eq!(bob.event(&room_id, &during).await.status, 200);
    assert_eq!(bob.event(&room_id, &after).await.status, 404);
    let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b&limit=2");
    let page = bob.get(&path).await.ok();
    let chunk = page["chunk"].as_array().unwrap();
    assert_eq!(chunk[0]["state_key"], bob.user_id);
    assert_eq!(chunk[1]["content"]["body"], "during");
}

#[tokio::test]
async fn former_member_pages_no_further_than_the_leave() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = room_with(&alice, "shared").await;
    bob.join(&room_id).await.ok();
    alice.send_text(&room_id, "during").await;
    bob.leave(&room_id).await.ok();
    let from = bob.since().await.replace("since=", "from=");
    alice.send_text(&room_id, "after").await;
    let page = async |query: &str| {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?{query}&{from}");
        bob.get(&path).await.ok()["chunk"].take()
    };
    let backwards = page("dir=b&limit=2").await;
    assert_eq!(backwards[0]["state_key"], bob.user_id);
    assert_eq!(backwards[1]["content"]["body"], "during");
    assert_eq!(page("dir=f&limit=100").await, json!([]));
}
