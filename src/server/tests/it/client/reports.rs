//! Reports, shared rooms, and proofs of who a user is.

use serde_json::json;

use crate::app::{TestApp, encoded};

#[tokio::test]
async fn members_report_events_and_others_do_not() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let carol = app.user("carol").await;
    let event_id = alice.send_text(&room_id, "spam").await;
    let report = |event_id: &str| {
        let (room_id, event_id) = (encoded(&room_id), encoded(event_id));
        format!("/_matrix/client/v3/rooms/{room_id}/report/{event_id}")
    };
    let body = json!({ "reason": "unwanted\u{0}", "score": -100 });
    bob.post(&report(&event_id), body.clone()).await.ok();
    bob.post(&report(&event_id), json!({})).await.ok();
    for (user, event_id) in [(&carol, &*event_id), (&bob, "$unknown")] {
        let refused = user.post(&report(event_id), body.clone()).await;
        assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    }
    let long = json!({ "reason": "x".repeat(9_000) });
    let refused = bob.post(&report(&event_id), long).await;
    assert_eq!(refused.refused(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn rooms_and_users_are_reported_by_anybody_as_often_as_allowed() {
    let app = TestApp::start_with(|config| config.limits.reports_per_user = 3).await;
    let (alice, bob, room_id) = app.private_room().await;
    let reason = json!({ "reason": "" });
    let room = |room_id: &str| format!("/_matrix/client/v3/rooms/{}/report", encoded(room_id));
    let user = |user_id: &str| format!("/_matrix/client/v3/users/{}/report", encoded(user_id));
    bob.post(&room(&room_id), reason.clone()).await.ok();
    bob.post(&user(&alice.user_id), reason.clone()).await.ok();
    bob.post(&user("@them:elsewhere.example"), reason.clone())
        .await
        .ok();
    let refused = bob
        .post(&user("@others:elsewhere.example"), reason.clone())
        .await;
    assert_eq!(refused.refused(), (403, "M_USER_LIMIT_EXCEEDED"));
    let unknown = [
        room("!unknown:example.org"),
        user(&format!("@nobody:{}", app.server_name())),
    ];
    for path in unknown {
        let refused = alice.post(&path, reason.clone()).await;
        assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    }
}

#[tokio::test]
async fn mutual_rooms_are_those_that_both_are_in() {
    let app = TestApp::start().await;
    let (alice, bob, shared) = app.public_room().await;
    alice.create_room(json!({})).await;
    let left = alice.create_room(json!({ "preset": "public_chat" })).await;
    bob.join(&left).await.ok();
    bob.leave(&left).await.ok();
    let path = |user_id: &str| {
        format!(
            "/_matrix/client/v1/mutual_rooms?user_id={}",
            encoded(user_id)
        )
    };
    let found = alice.get(&path(&bob.user_id)).await.ok();
    assert_eq!(found, json!({ "joined": [shared], "count": 1 }));
    let nobody = format!("@nobody:{}", app.server_name());
    let none = alice.get(&path(&nobody)).await.ok();
    assert_eq!(none, json!({ "joined": [], "count": 0 }));
    for path in [
        path(&alice.user_id),
        format!("{}&from=x", path(&bob.user_id)),
    ] {
        let refused = alice.get(&path).await;
        assert_eq!(refused.refused(), (400, "M_INVALID_PARAM"));
    }
}

#[tokio::test]
async fn openid_token_tells_who_the_user_is_and_nothing_else() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let request = |user_id: &str| {
        format!(
            "/_matrix/client/v3/user/{}/openid/request_token",
            encoded(user_id)
        )
    };
    let refused = bob.post(&request(&alice.user_id), json!({})).await;
    assert_eq!(refused.refused(), (403, "M_FORBIDDEN"));
    let token = alice.post(&request(&alice.user_id), json!({})).await.ok();
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(token["matrix_server_name"], app.server_name());
    assert_eq!(token["expires_in"], 3600);
    let secret = token["access_token"].as_str().unwrap();
    let info = |token: &str| format!("/_matrix/federation/v1/openid/userinfo?access_token={token}");
    let anybody = app.unauthenticated();
    let found = anybody.get(&info(secret)).await.ok();
    assert_eq!(found, json!({ "sub": alice.user_id }));
    let unknown = anybody.get(&info("guessed")).await;
    assert_eq!(unknown.refused(), (401, "M_UNKNOWN_TOKEN"));
    // It is no access token, and access tokens are no OpenID tokens.
    let mut other = anybody.clone();
    other.token = Some(secret.to_owned());
    let refused = other.get("/_matrix/client/v3/account/whoami").await;
    assert_eq!(refused.refused(), (401, "M_UNKNOWN_TOKEN"));
    let access_token = alice.token.clone().unwrap();
    let refused = anybody.get(&info(&access_token)).await;
    assert_eq!(refused.refused(), (401, "M_UNKNOWN_TOKEN"));
}
