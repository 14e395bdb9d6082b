//! Cross-signing keys: when the password is asked for, and what forged signatures come to.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser};

const UPLOAD: &str = "/_matrix/client/v3/keys/device_signing/upload";

/// A master key; nobody has to prove that they own it.
fn master_key(user: &TestUser, letter: char) -> Value {
    let public: String = std::iter::repeat_n(letter, 42).chain(['A']).collect();
    json!({
        "user_id": user.user_id,
        "usage": ["master"],
        "keys": { format!("ed25519:{public}"): public },
    })
}

#[tokio::test]
async fn the_password_is_asked_for_when_keys_are_replaced_and_only_then() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for _ in 0..2 {
        alice
            .post(UPLOAD, json!({ "master_key": master_key(&alice, 'a') }))
            .await
            .ok();
    }
    let other = json!({ "master_key": master_key(&alice, 'b') });
    let challenge = alice.post(UPLOAD, other.clone()).await;
    assert_eq!(challenge.status, 401);
    assert_eq!(
        challenge.body["flows"],
        json!([{ "stages": ["m.login.password"] }])
    );

    let attempt = |password: &str| {
        let mut body = other.clone();
        body["auth"] = json!({
            "type": "m.login.password",
            "session": challenge.body["session"],
            "identifier": { "type": "m.id.user", "user": alice.user_id },
            "password": password,
        });
        body
    };
    let wrong = alice.post(UPLOAD, attempt("wrong")).await;
    assert_eq!(wrong.refused(), (401, "M_FORBIDDEN"));
    alice
        .post(UPLOAD, attempt("correct horse battery staple"))
        .await
        .ok();
    let query = json!({ "device_keys": { &alice.user_id: [] } });
    let found = alice
        .post("/_matrix/client/v3/keys/query", query)
        .await
        .ok();
    assert_eq!(
        found["master_keys"][&alice.user_id]["keys"],
        master_key(&alice, 'b')["keys"]
    );
}

#[tokio::test]
async fn forged_signatures_are_named_and_not_shown() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let master = master_key(&alice, 'a');
    alice
        .post(UPLOAD, json!({ "master_key": master }))
        .await
        .ok();
    let mut forged = master.clone();
    let signature: String = std::iter::repeat_n('a', 86).collect();
    forged["signatures"] =
        json!({ &alice.user_id: { format!("ed25519:{}", alice.device_id): signature } });
    let public = master["keys"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .as_str()
        .unwrap();
    let body = json!({ &alice.user_id: { public: forged, "NOWHERE": forged } });
    let answer = alice
        .post("/_matrix/client/v3/keys/signatures/upload", body)
        .await
        .ok();
    let failures = &answer["failures"][&alice.user_id];
    assert_eq!(failures[public]["errcode"], "M_INVALID_SIGNATURE");
    assert_eq!(failures["NOWHERE"]["errcode"], "M_NOT_FOUND");
    let query = json!({ "device_keys": { &alice.user_id: [] } });
    let found = alice
        .post("/_matrix/client/v3/keys/query", query)
        .await
        .ok();
    assert!(found["master_keys"][&alice.user_id]["signatures"].is_null());
}
