//! `/presence` and `set_presence`.

use config::RateLimit;
use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, encoded};

fn path(of: &TestUser) -> String {
    format!(
        "/_matrix/client/v3/presence/{}/status",
        encoded(&of.user_id)
    )
}

#[tokio::test]
async fn presence_is_set_and_read_by_those_who_share_a_room() {
    let app = TestApp::start().await;
    let (alice, bob, _) = app.public_room().await;
    let before = bob.get(&path(&alice)).await.ok();
    assert_eq!(before, json!({ "presence": "offline" }));
    let status = json!({ "presence": "online", "status_msg": "at work" });
    alice.put(&path(&alice), status).await.ok();
    for reader in [&alice, &bob] {
        let mut told = reader.get(&path(&alice)).await.ok();
        assert!(told["last_active_ago"].take().is_u64(), "{told}");
        let expected = json!({
            "presence": "online", "status_msg": "at work", "currently_active": true, "last_active_ago": null,
        });
        assert_eq!(told, expected);
    }
    // A status is set as a whole.
    alice
        .put(&path(&alice), json!({ "presence": "unavailable" }))
        .await
        .ok();
    let told = bob.get(&path(&alice)).await.ok();
    assert_eq!(told["presence"], "unavailable");
    assert_eq!(told.get("status_msg"), None);
    assert_eq!(told.get("currently_active"), None);
}

#[tokio::test]
async fn strangers_do_not_see_presence() {
    let app = TestApp::start().await;
    let (alice, _, room_id) = app.public_room().await;
    let stranger = app.user("stranger").await;
    alice
        .put(&path(&alice), json!({ "presence": "online" }))
        .await
        .ok();
    let answer = stranger.get(&path(&alice)).await;
    assert_eq!(answer.refused(), (403, "M_FORBIDDEN"));
    let nobody = stranger
        .get("/_matrix/client/v3/presence/%40nobody%3Atest.localhost/status")
        .await;
    assert_eq!(nobody.refused(), (403, "M_FORBIDDEN"));
    stranger.join(&room_id).await.ok();
    assert_eq!(stranger.get(&path(&alice)).await.ok()["presence"], "online");
    let anonymous = app.unauthenticated().get(&path(&alice)).await;
    assert_eq!(anonymous.refused(), (401, "M_MISSING_TOKEN"));
}

#[tokio::test]
async fn only_own_presence_is_set_and_within_bounds() {
    let app = TestApp::start().await;
    let (alice, bob, _) = app.public_room().await;
    let online = json!({ "presence": "online" });
    let other = bob.put(&path(&alice), online).await;
    assert_eq!(other.refused(), (403, "M_FORBIDDEN"));
    let status = |length: usize| json!({ "presence": "online", "status_msg": "x".repeat(length) });
    alice.put(&path(&alice), status(1_000)).await.ok();
    let long = alice.put(&path(&alice), status(1_001)).await;
    assert_eq!(long.refused(), (400, "M_INVALID_PARAM"));
    let unknown = alice
        .put(&path(&alice), json!({ "presence": "asleep" }))
        .await;
    assert_eq!(unknown.refused(), (400, "M_INVALID_PARAM"));
    let missing = alice.put(&path(&alice), json!({ "status_msg": "x" })).await;
    assert_eq!(missing.refused(), (400, "M_BAD_JSON"));
    let unknown = alice
        .get("/_matrix/client/v3/sync?set_presence=asleep")
        .await;
    assert_eq!(unknown.refused(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn presence_is_set_only_so_often() {
    let app = TestApp::start_with(|config| {
        config.rate_limits.enabled = true;
        config.rate_limits.presence = RateLimit {
            per_second: 0.001,
            burst: 2,
        };
    })
    .await;
    let alice = app.user("alice").await;
    let online = json!({ "presence": "online" });
    for _ in 0..2 {
        alice.put(&path(&alice), online.clone()).await.ok();
    }
    let answer = alice.put(&path(&alice), online).await;
    assert_eq!(answer.refused(), (429, "M_LIMIT_EXCEEDED"));
    assert!(answer.body["retry_after_ms"].is_u64());
}

/// The state that a user is told of another one in a first sync.
async fn told(reader: &TestUser, of: &TestUser) -> Option<String> {
    let answer = reader.sync("set_presence=offline").await;
    let events = answer["presence"]["events"].as_array();
    let event = events
        .into_iter()
        .flatten()
        .find(|event| event["sender"] == of.user_id.as_str());
    Some(event?["content"]["presence"].as_str()?.to_owned())
}

#[tokio::test]
async fn syncing_and_sending_show_a_user_as_online() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    assert_eq!(told(&bob, &alice).await, None);
    alice.sync("set_presence=unavailable").await;
    assert_eq!(told(&bob, &alice).await.as_deref(), Some("unavailable"));
    alice.send_text(&room_id, "hello").await;
    assert_eq!(told(&bob, &alice).await.as_deref(), Some("online"));
    alice.sync("set_presence=unavailable").await;
    assert_eq!(told(&bob, &alice).await.as_deref(), Some("unavailable"));
    alice.sync("").await;
    assert_eq!(told(&bob, &alice).await.as_deref(), Some("online"));
    // Bob has only looked.
    assert_eq!(told(&alice, &bob).await, None);
}

#[tokio::test]
async fn without_presence_everybody_is_offline_and_setting_it_has_no_effect() {
    let app = TestApp::start_with(|config| config.presence.enabled = false).await;
    let (alice, bob, _) = app.public_room().await;
    let status = json!({ "presence": "online", "status_msg": "at work" });
    alice.put(&path(&alice), status).await.ok();
    let other = alice
        .put(&path(&bob), json!({ "presence": "online" }))
        .await;
    assert_eq!(other.refused(), (403, "M_FORBIDDEN"));
    assert_eq!(
        alice.get(&path(&alice)).await.ok(),
        json!({ "presence": "offline" })
    );
    assert_eq!(bob.sync("").await.get("presence"), None::<&Value>);
    assert_eq!(told(&bob, &alice).await, None);
}
