//! Joining, inviting, leaving, kicking, banning, forgetting.

use http::Method;
use serde_json::json;

use crate::app::{TestApp, encoded};

#[tokio::test]
async fn public_room_is_joined_by_id_and_by_alias() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let body = json!({ "preset": "public_chat", "room_alias_name": "town-hall" });
    let room_id = alice.create_room(body).await;
    let alias = format!("#town-hall:{}", app.server_name());
    assert_eq!(bob.join(&alias).await.ok()["room_id"], room_id);
    assert_eq!(alice.membership(&room_id, &bob).await, "join");
    bob.leave(&room_id).await.ok();
    assert_eq!(
        bob.room(&room_id, "join", json!({})).await.ok()["room_id"],
        room_id
    );
    assert_eq!(alice.membership(&room_id, &bob).await, "join");
}

#[tokio::test]
async fn joining_twice_keeps_the_first_join() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let mut joins = Vec::new();
    for _ in 0..2 {
        bob.join(&room_id).await.ok();
        let path = format!(
            "/_matrix/client/v3/rooms/{room_id}/state/m.room.member/{}?format=event",
            encoded(&bob.user_id)
        );
        joins.push(bob.get(&path).await.ok()["event_id"].take());
    }
    assert_eq!(joins[0], joins[1]);
}

#[tokio::test]
async fn join_keeps_the_content_that_the_client_adds() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let path = format!("/_matrix/client/v3/join/{}", encoded(&room_id));
    bob.post(&path, json!({ "foo": "bar", "reason": "work" }))
        .await
        .ok();
    let member = alice
        .state(&room_id, "m.room.member", &bob.user_id)
        .await
        .ok();
    assert_eq!(member["membership"], "join");
    assert_eq!(member["foo"], "bar");
    assert_eq!(member["reason"], "work");
}

#[tokio::test]
async fn uninvited_user_cannot_join_a_private_room() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "private_chat" })).await;
    assert_eq!(bob.join(&room_id).await.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn invited_user_joins_a_private_room() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.private_room().await;
    assert_eq!(alice.membership(&room_id, &bob).await, "invite");
    bob.join(&room_id).await.ok();
    assert_eq!(alice.membership(&room_id, &bob).await, "join");
}

#[tokio::test]
async fn inviting_oneself_or_a_member_is_refused() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "private_chat" })).await;
    assert_eq!(
        alice.invite(&room_id, &alice).await.refused(),
        (403, "M_FORBIDDEN")
    );
    alice.invite(&room_id, &bob).await.ok();
    bob.join(&room_id).await.ok();
    assert_eq!(
        alice.invite(&room_id, &bob).await.refused(),
        (403, "M_FORBIDDEN")
    );
}

#[tokio::test]
async fn invite_can_be_rejected_even_after_the_room_is_empty() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.private_room().await;
    alice.leave(&room_id).await.ok();
    bob.leave(&room_id).await.ok();
    bob.room(&room_id, "forget", json!({})).await.ok();
}

#[tokio::test]
async fn creator_can_be_invited_back() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.private_room().await;
    bob.join(&room_id).await.ok();
    let levels = json!({ "users": { &bob.user_id: 100 } });
    alice
        .set_state(&room_id, "m.room.power_levels", "", levels)
        .await
        .ok();
    alice.leave(&room_id).await.ok();
    bob.invite(&room_id, &alice).await.ok();
    alice.join(&room_id).await.ok();
    assert_eq!(bob.membership(&room_id, &alice).await, "join");
}

#[tokio::test]
async fn kicked_user_cannot_rejoin_invite_only_room() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.private_room().await;
    bob.join(&room_id).await.ok();
    let kick = json!({ "user_id": bob.user_id, "reason": "noise" });
    alice.room(&room_id, "kick", kick).await.ok();
    let member = alice
        .state(&room_id, "m.room.member", &bob.user_id)
        .await
        .ok();
    assert_eq!(member["membership"], "leave");
    assert_eq!(member["reason"], "noise");
    assert_eq!(bob.join(&room_id).await.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn banned_user_joins_only_after_the_ban_is_lifted() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let bob_body = json!({ "user_id": bob.user_id });
    alice.room(&room_id, "ban", bob_body.clone()).await.ok();
    assert_eq!(alice.membership(&room_id, &bob).await, "ban");
    assert_eq!(bob.join(&room_id).await.refused(), (403, "M_FORBIDDEN"));
    assert_eq!(
        alice.invite(&room_id, &bob).await.refused(),
        (403, "M_FORBIDDEN")
    );
    alice.room(&room_id, "unban", bob_body).await.ok();
    assert_eq!(alice.membership(&room_id, &bob).await, "leave");
    bob.join(&room_id).await.ok();
}

#[tokio::test]
async fn users_without_power_or_presence_cannot_kick_or_ban() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let charlie = app.user("charlie").await;
    let alice_body = json!({ "user_id": alice.user_id });
    for action in ["kick", "ban", "unban"] {
        let answer = bob.room(&room_id, action, alice_body.clone()).await;
        assert_eq!(answer.refused(), (403, "M_FORBIDDEN"), "{action}");
        let answer = charlie.room(&room_id, action, alice_body.clone()).await;
        assert_eq!(
            answer.refused(),
            (403, "M_FORBIDDEN"),
            "{action} by a stranger"
        );
    }
}

#[tokio::test]
async fn only_rooms_that_were_left_can_be_forgotten() {
    let app = TestApp::start().await;
    let (alice, _, room_id) = app.public_room().await;
    let answer = alice.room(&room_id, "forget", json!({})).await;
    assert_eq!(answer.refused(), (400, "M_UNKNOWN"));
    alice.leave(&room_id).await.ok();
    alice.room(&room_id, "forget", json!({})).await.ok();
    let messages = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b");
    assert_eq!(alice.get(&messages).await.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn forgotten_room_comes_back_with_its_history_after_an_invite() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.private_room().await;
    bob.join(&room_id).await.ok();
    let said = bob.send_text(&room_id, "before").await;
    bob.leave(&room_id).await.ok();
    bob.room(&room_id, "forget", json!({})).await.ok();
    assert_eq!(bob.join(&room_id).await.refused(), (403, "M_FORBIDDEN"));
    alice.invite(&room_id, &bob).await.ok();
    bob.join(&room_id).await.ok();
    assert_eq!(
        bob.event(&room_id, &said).await.ok()["content"]["body"],
        "before"
    );
}

#[tokio::test]
async fn rooms_that_do_not_exist_are_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = format!("!nothing:{}", app.server_name());
    assert_eq!(alice.join(&room_id).await.status, 404);
    let alias = format!("#nothing:{}", app.server_name());
    assert_eq!(alice.join(&alias).await.refused(), (404, "M_NOT_FOUND"));
    for action in ["leave", "forget", "invite", "kick", "ban"] {
        let answer = alice
            .room(
                &room_id,
                action,
                json!({ "user_id": "@bob:test.localhost" }),
            )
            .await;
        assert!(
            (400..500).contains(&answer.status),
            "{action}: {}",
            answer.status
        );
    }
}

#[tokio::test]
async fn body_may_be_left_out_where_all_of_it_is_optional() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let knocking = alice
        .create_room(json!({ "initial_state": [
            { "type": "m.room.join_rules", "content": { "join_rule": "knock" } },
        ] }))
        .await;
    for path in [
        format!("/_matrix/client/v3/join/{room_id}"),
        format!("/_matrix/client/v3/rooms/{room_id}/leave"),
        format!("/_matrix/client/v3/rooms/{room_id}/join"),
        format!("/_matrix/client/v3/knock/{knocking}"),
    ] {
        bob.call(Method::POST, &path, "").await.ok();
    }
    let kick = format!("/_matrix/client/v3/rooms/{room_id}/kick");
    let answer = alice.call(Method::POST, &kick, "").await;
    assert_eq!(answer.refused(), (400, "M_BAD_JSON"));
}

#[tokio::test]
async fn power_level_requires_membership_and_non_members_cannot_be_kicked() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let charlie = app.user("charlie").await;
    let levels = json!({ "users": { &charlie.user_id: 100 } });
    alice
        .set_state(&room_id, "m.room.power_levels", "", levels)
        .await
        .ok();
    let bob_body = json!({ "user_id": bob.user_id, "reason": "none" });
    for action in ["ban", "kick"] {
        let answer = charlie.room(&room_id, action, bob_body.clone()).await;
        assert_eq!(answer.refused(), (403, "M_FORBIDDEN"), "{action}");
    }
    assert_eq!(alice.membership(&room_id, &bob).await, "join");
    bob.leave(&room_id).await.ok();
    for (outsider, why) in [(&bob, "who left"), (&charlie, "who was never in")] {
        let kick = json!({ "user_id": outsider.user_id });
        let answer = alice.room(&room_id, "kick", kick).await;
        assert_eq!(answer.refused(), (403, "M_FORBIDDEN"), "{why}");
    }
}

#[tokio::test]
async fn join_by_alias_keeps_the_content_that_the_client_adds() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let body = json!({ "preset": "public_chat", "room_alias_name": "town-hall" });
    let room_id = alice.create_room(body).await;
    let alias = format!("#town-hall:{}", app.server_name());
    let path = format!("/_matrix/client/v3/join/{}", encoded(&alias));
    bob.post(&path, json!({ "foo": "bar" })).await.ok();
    let member = alice.state(&room_id, "m.room.member", &bob.user_id).await;
    assert_eq!(member.ok()["foo"], "bar");
}
