//! Invitations that the invited user does not want.

use serde_json::{Value, json};

use crate::app::{Answer, TestApp, TestUser, encoded};

const BLOCKED: (u16, &str) = (403, "M_INVITE_BLOCKED");

async fn set(user: &TestUser, event_type: &str, content: Value) {
    let user_id = encoded(&user.user_id);
    let path = format!("/_matrix/client/v3/user/{user_id}/account_data/{event_type}");
    user.put(&path, content).await.ok();
}

async fn block_all(user: &TestUser, blocks: bool) {
    let content = if blocks {
        json!({ "default_action": "block" })
    } else {
        json!({})
    };
    set(user, "m.invite_permission_config", content).await;
}

/// Invites a user by each endpoint that can.
async fn invitations(inviter: &TestUser, invited: &TestUser) -> Vec<(String, Answer)> {
    let [direct, by_state] = [(); 2].map(|()| inviter.create_room(json!({})));
    let (direct, by_state) = (direct.await, by_state.await);
    let invite = inviter.invite(&direct, invited).await;
    let content = json!({ "membership": "invite" });
    let set = inviter.set_state(&by_state, "m.room.member", &invited.user_id, content);
    let set = set.await;
    let body = json!({ "invite": [invited.user_id] });
    let created = inviter.post("/_matrix/client/v3/createRoom", body).await;
    let room_id = created.body["room_id"].as_str().unwrap_or_default();
    vec![
        (room_id.to_owned(), created),
        (direct, invite),
        (by_state, set),
    ]
}

#[tokio::test]
async fn blocked_invitations_are_refused_by_every_endpoint() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    block_all(&bob, true).await;
    for (_, answer) in invitations(&alice, &bob).await {
        assert_eq!(answer.refused(), BLOCKED);
    }
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let path = format!(
        "/_matrix/client/v3/rooms/{room_id}/state/m.room.member/{}?org.matrix.msc4140.delay=1000",
        encoded(&bob.user_id)
    );
    let later = alice.put(&path, json!({ "membership": "invite" })).await;
    assert_eq!(later.refused(), BLOCKED);
    assert!(bob.sync("").await["rooms"].is_null());
    // Other memberships are none of its business.
    let content = json!({ "membership": "ban" });
    let ban = alice.set_state(&room_id, "m.room.member", &bob.user_id, content);
    ban.await.ok();

    block_all(&bob, false).await;
    for (room_id, answer) in invitations(&alice, &bob).await {
        answer.ok();
        assert!(!bob.sync("").await["rooms"]["invite"][&room_id].is_null());
    }
}

#[tokio::test]
async fn invitations_made_before_are_not_shown_while_they_are_blocked() {
    let app = TestApp::start().await;
    let (_, bob, room_id) = app.private_room().await;
    let is_shown = async || !bob.sync("").await["rooms"]["invite"][&room_id].is_null();
    assert!(is_shown().await);
    block_all(&bob, true).await;
    assert!(!is_shown().await);
    // What is hidden can be accepted all the same.
    bob.join(&room_id).await.ok();
}

#[tokio::test]
async fn ignored_users_and_servers_invite_without_effect() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let carol = app.user("carol").await;
    let lists = json!({
        "allowed_users": [carol.user_id],
        "ignored_servers": [app.server_name()],
    });
    let event_type = "org.matrix.msc4155.invite_permission_config";
    set(&bob, event_type, lists).await;
    for (_, answer) in invitations(&alice, &bob).await {
        answer.ok();
    }
    assert!(bob.sync("").await["rooms"].is_null());
    for (room_id, answer) in invitations(&carol, &bob).await {
        answer.ok();
        assert!(!bob.sync("").await["rooms"]["invite"][&room_id].is_null());
    }
    set(&bob, event_type, json!({ "blocked_users": ["@al*"] })).await;
    for (_, answer) in invitations(&alice, &bob).await {
        assert_eq!(answer.refused(), BLOCKED);
    }
}
