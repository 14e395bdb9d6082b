//! `/register` and the registration with a shared secret.

use config::RegistrationMode;
use ring::hmac;
use serde_json::{Value, json};
use types::Secret;

use crate::app::{Answer, TestApp};

const REGISTER: &str = "/_matrix/client/v3/register";

async fn register(app: &TestApp, body: Value) -> Answer {
    app.unauthenticated().post(REGISTER, body).await
}

fn dummy(username: &str) -> Value {
    json!({ "username": username, "password": "secret", "auth": { "type": "m.login.dummy" } })
}

#[tokio::test]
async fn flows_are_returned_for_an_empty_form() {
    let app = TestApp::start().await;
    let asked = register(&app, json!({})).await;
    assert_eq!(asked.status, 401);
    assert_eq!(
        asked.body["flows"],
        json!([{ "stages": ["m.login.dummy"] }])
    );
    assert_eq!(asked.body["params"], json!({}));
    let mut filled_in = dummy("Alice");
    filled_in["auth"]["session"] = asked.body["session"].clone();
    let answer = register(&app, filled_in).await.ok();
    assert_eq!(answer["user_id"], format!("@alice:{}", app.server_name()));
    assert!(answer["access_token"].is_string());
    assert!(answer["device_id"].is_string());
    assert!(answer.get("refresh_token").is_none());
}

#[tokio::test]
async fn unknown_stage_is_answered_with_the_flows() {
    let app = TestApp::start().await;
    let mut form = dummy("alice");
    form["auth"]["type"] = json!("m.login.sso");
    let answer = register(&app, form).await;
    assert_eq!(answer.refused(), (401, "M_UNRECOGNIZED"));
    assert!(answer.body["flows"].is_array());
}

#[tokio::test]
async fn session_is_begun_only_if_wanted() {
    let app = TestApp::start().await;
    let mut quiet = dummy("alice");
    quiet["inhibit_login"] = json!(true);
    let answer = register(&app, quiet).await.ok();
    assert!(answer.get("access_token").is_none());
    assert!(answer.get("device_id").is_none());
    let mut named = dummy("bob");
    named["device_id"] = json!("PHONE");
    named["refresh_token"] = json!(true);
    let answer = register(&app, named).await.ok();
    assert_eq!(answer["device_id"], "PHONE");
    assert!(answer["refresh_token"].is_string());
    assert_eq!(answer["expires_in_ms"], 300_000);
}

#[tokio::test]
async fn names_taken_or_outside_the_grammar_are_refused() {
    let app = TestApp::start().await;
    app.user("alice").await;
    let taken = register(&app, dummy("ALICE")).await;
    assert_eq!(taken.refused(), (400, "M_USER_IN_USE"));
    let invalid = register(&app, dummy("user-é-name")).await;
    assert_eq!(invalid.refused(), (400, "M_INVALID_USERNAME"));
    let available = "/_matrix/client/v3/register/available?username=";
    let (unauthenticated, path) = (app.unauthenticated(), |name| format!("{available}{name}"));
    assert_eq!(
        unauthenticated.get(&path("alice")).await.refused(),
        (400, "M_USER_IN_USE")
    );
    assert_eq!(
        unauthenticated.get(&path("a%00")).await.refused(),
        (400, "M_INVALID_USERNAME")
    );
    assert_eq!(
        unauthenticated.get(&path("bob")).await.ok(),
        json!({ "available": true })
    );
}

#[tokio::test]
async fn malformed_forms_are_refused() {
    let app = TestApp::start().await;
    for form in [
        json!({ "username": 7 }),
        json!({ "auth": "m.login.dummy" }),
        json!({ "auth": { "type": 7 } }),
        json!({ "auth": { "type": "m.login.dummy", "session": {} } }),
        json!({ "inhibit_login": "yes" }),
        json!([]),
    ] {
        let answer = register(&app, form.clone()).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{form}");
    }
    let without_password = json!({ "username": "alice", "auth": { "type": "m.login.dummy" } });
    let answer = register(&app, without_password).await;
    assert_eq!(answer.refused(), (400, "M_MISSING_PARAM"));
    let available = app
        .unauthenticated()
        .get("/_matrix/client/v3/register/available?username=alice")
        .await;
    assert_eq!(available.ok(), json!({ "available": true }));
}

#[tokio::test]
async fn guests_are_refused() {
    let app = TestApp::start().await;
    let answer = app
        .unauthenticated()
        .post("/_matrix/client/v3/register?kind=guest", json!({}))
        .await;
    assert_eq!(answer.refused(), (403, "M_GUEST_ACCESS_FORBIDDEN"));
}

#[tokio::test]
async fn closed_registration_is_forbidden() {
    let app =
        TestApp::start_with(|config| config.registration.mode = RegistrationMode::Closed).await;
    for form in [json!({}), dummy("alice")] {
        assert_eq!(register(&app, form).await.refused(), (403, "M_FORBIDDEN"));
    }
    let validity = app.unauthenticated().get(VALIDITY_OF_A_GUESS).await;
    assert_eq!(validity.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn registration_token_must_be_valid() {
    let app =
        TestApp::start_with(|config| config.registration.mode = RegistrationMode::Token).await;
    let asked = register(&app, json!({})).await;
    assert_eq!(
        asked.body["flows"],
        json!([{ "stages": ["m.login.registration_token"] }])
    );
    let mut form = dummy("alice");
    form["auth"] = json!({ "type": "m.login.registration_token", "token": "guessed" });
    let answer = register(&app, form).await;
    assert_eq!(answer.refused(), (401, "M_UNAUTHORIZED"));
    assert_eq!(
        app.unauthenticated().get(VALIDITY_OF_A_GUESS).await.ok(),
        json!({ "valid": false })
    );
}

const VALIDITY_OF_A_GUESS: &str =
    "/_matrix/client/v1/register/m.login.registration_token/validity?token=guessed";
const SHARED_SECRET: &str = "/_synapse/admin/v1/register";

/// A registration as tools send it that know the shared secret.
async fn signed(app: &TestApp, username: &str, secret: &str) -> Value {
    let nonce = app.unauthenticated().get(SHARED_SECRET).await.ok()["nonce"].take();
    let nonce = nonce.as_str().unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let mac = hmac::sign(&key, [nonce, username, "pw", "admin"].join("\0").as_bytes());
    let digits = mac.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mac: String = digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    json!({ "nonce": nonce, "username": username, "password": "pw", "admin": true, "mac": mac })
}

async fn with_secret() -> TestApp {
    TestApp::start_with(|config| {
        config.registration.mode = RegistrationMode::Closed;
        config.registration.shared_secret = Some(Secret::new("complement"));
    })
    .await
}

#[tokio::test]
async fn shared_secret_registers_when_registration_is_closed() {
    let app = with_secret().await;
    let body = signed(&app, "User-UPPER", "complement").await;
    let answer = app
        .unauthenticated()
        .post(SHARED_SECRET, body.clone())
        .await
        .ok();
    assert_eq!(
        answer["user_id"],
        format!("@user-upper:{}", app.server_name())
    );
    assert_eq!(answer["home_server"], app.server_name());
    assert!(answer["access_token"].is_string());
    let again = app.unauthenticated().post(SHARED_SECRET, body).await;
    assert_eq!(again.status, 400);
}

#[tokio::test]
async fn shared_secret_does_not_excuse_bad_names_or_wrong_secrets() {
    let app = with_secret().await;
    let symbols = signed(&app, "us,er", "complement").await;
    let answer = app.unauthenticated().post(SHARED_SECRET, symbols).await;
    assert_eq!(answer.refused(), (400, "M_INVALID_USERNAME"));
    let guessed = signed(&app, "alice", "guessed").await;
    let answer = app.unauthenticated().post(SHARED_SECRET, guessed).await;
    assert_eq!(answer.refused(), (403, "M_FORBIDDEN"));
    let empty = app.unauthenticated().post(SHARED_SECRET, json!({})).await;
    assert_eq!(empty.refused(), (400, "M_BAD_JSON"));
}

#[tokio::test]
async fn shared_secret_registration_is_refused_without_a_secret() {
    let app = TestApp::start().await;
    assert_eq!(
        app.unauthenticated().get(SHARED_SECRET).await.refused(),
        (403, "M_FORBIDDEN")
    );
}

#[tokio::test]
async fn names_are_judged_before_anything_else_is_asked() {
    let app = TestApp::start().await;
    app.user("alice").await;
    let form = |name: &str| json!({ "username": name, "password": "s\u{fc}per" });
    for symbol in [
        "!", "\"", "'", ":", "?", "\\", "@", "[", "{", "|", "\u{a3}", "\n",
    ] {
        let answer = register(&app, form(&format!("a{symbol}b"))).await;
        assert_eq!(answer.refused(), (400, "M_INVALID_USERNAME"), "{symbol}");
    }
    let taken = register(&app, form("alice")).await;
    assert_eq!(taken.refused(), (400, "M_USER_IN_USE"));
    for symbol in ["q", "3", ".", "_", "=", "-", "/"] {
        let mut named = form(&format!("a{symbol}b"));
        let asked = register(&app, named.clone()).await;
        assert_eq!(asked.status, 401, "{symbol}");
        let session = &asked.body["session"];
        named["auth"] = json!({ "type": "m.login.dummy", "session": session });
        let user_id = register(&app, named).await.ok()["user_id"].take();
        assert_eq!(user_id, format!("@a{symbol}b:{}", app.server_name()));
    }
}
