//! Who a token stands for, and how it ends.

use serde_json::json;

use crate::app::{PASSWORD, TestApp};

#[tokio::test]
async fn token_stands_for_one_user_on_one_device() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let answer = alice.get("/_matrix/client/v3/account/whoami").await.ok();
    assert_eq!(answer["user_id"], alice.user_id);
    assert_eq!(answer["device_id"], alice.device_id);
    assert_eq!(answer["user_id"], format!("@alice:{}", app.server_name()));
}

#[tokio::test]
async fn logged_out_token_is_unknown_at_once() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    alice
        .post("/_matrix/client/v3/logout", json!({}))
        .await
        .ok();
    let answer = alice.get("/_matrix/client/v3/account/whoami").await;
    assert_eq!(answer.refused(), (401, "M_UNKNOWN_TOKEN"));
}

#[tokio::test]
async fn password_logs_in_to_a_second_device() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let login = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": PASSWORD,
    });
    let answer = app
        .unauthenticated()
        .post("/_matrix/client/v3/login", login)
        .await
        .ok();
    assert_eq!(answer["user_id"], alice.user_id);
    assert_ne!(answer["device_id"], alice.device_id);
}
