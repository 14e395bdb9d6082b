//! Credentials for TURN servers.

use serde_json::json;
use types::Secret;

use crate::app::TestApp;

const PATH: &str = "/_matrix/client/v3/voip/turnServer";

#[tokio::test]
async fn turn_credentials_are_for_users_only() {
    let uris = [
        "turn:turn.example.org?transport=udp",
        "turns:turn.example.org",
    ];
    let app = TestApp::start_with(|config| {
        config.turn.uris = uris.map(str::to_owned).to_vec();
        config.turn.shared_secret = Some(Secret::new("sesame"));
    })
    .await;
    let alice = app.user("alice").await;
    let answer = alice.get(PATH).await.ok();
    assert_eq!(answer["uris"], json!(uris));
    assert_eq!(answer["ttl"], 86_400);
    let username = answer["username"].as_str().unwrap();
    assert!(username.ends_with(&format!(":{}", alice.user_id)));
    assert!(answer["password"].is_string());
    let refused = app.unauthenticated().get(PATH).await;
    assert_eq!(refused.refused(), (401, "M_MISSING_TOKEN"));
}

#[tokio::test]
async fn without_turn_servers_there_are_no_credentials() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    assert_eq!(alice.get(PATH).await.ok(), json!({}));
}
