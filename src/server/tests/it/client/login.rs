//! `/login`, `/logout` and `/refresh`.

use std::net::IpAddr;

use api::authenticate::ClientAddress;
use axum::extract::Request;
use config::RateLimit;
use http::{Method, header};
use serde_json::{Value, json};

use crate::app::{Answer, Client, PASSWORD, TestApp};

const LOGIN: &str = "/_matrix/client/v3/login";
const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

async fn login(app: &TestApp, body: Value) -> Answer {
    app.unauthenticated().post(LOGIN, body).await
}

fn as_alice() -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": PASSWORD,
    })
}

fn with_token(app: &TestApp, answer: &Value) -> Client {
    let mut client = app.unauthenticated();
    client.token = answer["access_token"].as_str().map(str::to_owned);
    client
}

#[tokio::test]
async fn password_and_token_are_offered() {
    let app = TestApp::start().await;
    let flows = app.unauthenticated().get(LOGIN).await.ok()["flows"].take();
    let offered = json!([
        { "type": "m.login.password" },
        { "type": "m.login.token", "get_login_token": true },
    ]);
    assert_eq!(flows, offered);
}

#[tokio::test]
async fn user_logs_in_with_a_password() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let old_form =
        json!({ "type": "m.login.password", "user": alice.user_id, "password": PASSWORD });
    for body in [as_alice(), old_form] {
        let answer = login(&app, body).await.ok();
        assert_eq!(answer["user_id"], alice.user_id);
        assert_eq!(answer["home_server"], app.server_name());
        let who = with_token(&app, &answer).get(WHOAMI).await.ok();
        assert_eq!(who["device_id"], answer["device_id"]);
        assert_eq!(who["is_guest"], Value::Null);
    }
}

#[tokio::test]
async fn wrong_passwords_and_users_are_forbidden() {
    let app = TestApp::start().await;
    app.user("alice").await;
    for (pointer, value) in [
        ("/password", "wrong"),
        ("/identifier/user", "nobody"),
        ("/identifier/user", "@alice:elsewhere.org"),
        ("/identifier/user", "al\0ice"),
    ] {
        let mut body = as_alice();
        *body.pointer_mut(pointer).unwrap() = json!(value);
        assert_eq!(
            login(&app, body).await.refused(),
            (403, "M_FORBIDDEN"),
            "{value}"
        );
    }
}

#[tokio::test]
async fn malformed_logins_are_refused() {
    let app = TestApp::start().await;
    app.user("alice").await;
    for (body, errcode) in [
        (json!({}), "M_MISSING_PARAM"),
        (json!({ "type": "m.login.password" }), "M_MISSING_PARAM"),
        (json!({ "type": "m.login.token" }), "M_MISSING_PARAM"),
        (json!({ "type": "m.login.magic" }), "M_UNKNOWN"),
        (json!({ "type": 7 }), "M_BAD_JSON"),
        (
            json!({ "type": "m.login.password", "identifier": "alice" }),
            "M_BAD_JSON",
        ),
        (json!([]), "M_BAD_JSON"),
    ] {
        let answer = login(&app, body.clone()).await;
        assert_eq!(answer.refused(), (400, errcode), "{body}");
    }
    let mut by_mail = as_alice();
    by_mail["identifier"] =
        json!({ "type": "m.id.thirdparty", "medium": "email", "address": "a@a.org" });
    assert_eq!(login(&app, by_mail).await.refused(), (400, "M_UNKNOWN"));
    let mut device = as_alice();
    device["device_id"] = json!("a\0b");
    assert_eq!(
        login(&app, device).await.refused(),
        (400, "M_INVALID_PARAM")
    );
}

#[tokio::test]
async fn login_token_lets_another_device_in() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let path = "/_matrix/client/v1/login/get_token";
    let asked = alice.post(path, json!({})).await;
    assert_eq!(asked.status, 401);
    let auth = json!({ "type": "m.login.password", "password": PASSWORD, "session": asked.body["session"] });
    let token = alice.post(path, json!({ "auth": auth })).await.ok();
    assert_eq!(token["expires_in_ms"], 120_000);
    let body = json!({ "type": "m.login.token", "token": token["login_token"] });
    let answer = login(&app, body.clone()).await.ok();
    assert_eq!(answer["user_id"], alice.user_id);
    assert_eq!(login(&app, body).await.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn tokens_are_refreshed() {
    let app = TestApp::start().await;
    app.user("alice").await;
    let mut body = as_alice();
    body["refresh_token"] = json!(true);
    let first = login(&app, body).await.ok();
    let refresh = async |answer: &Value| {
        let body = json!({ "refresh_token": answer["refresh_token"] });
        app.unauthenticated()
            .post("/_matrix/client/v3/refresh", body)
            .await
    };
    let second = refresh(&first).await.ok();
    assert_eq!(second["expires_in_ms"], 300_000);
    with_token(&app, &first).get(WHOAMI).await.ok();
    with_token(&app, &second).get(WHOAMI).await.ok();
    let dead = with_token(&app, &first).get(WHOAMI).await;
    assert_eq!(dead.refused(), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(refresh(&first).await.refused(), (401, "M_UNKNOWN_TOKEN"));
    refresh(&second).await.ok();
}

#[tokio::test]
async fn logout_ends_the_session() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let other = with_token(&app, &login(&app, as_alice()).await.ok());
    let devices = async || alice.get("/_matrix/client/v3/devices").await;
    assert_eq!(devices().await.ok()["devices"].as_array().unwrap().len(), 2);
    other
        .post("/_matrix/client/v3/logout", json!({}))
        .await
        .ok();
    assert_eq!(other.get(WHOAMI).await.refused(), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(devices().await.ok()["devices"].as_array().unwrap().len(), 1);
    let other = with_token(&app, &login(&app, as_alice()).await.ok());
    other
        .post("/_matrix/client/v3/logout/all", json!({}))
        .await
        .ok();
    assert_eq!(devices().await.refused(), (401, "M_UNKNOWN_TOKEN"));
    let nobody = app
        .unauthenticated()
        .post("/_matrix/client/v3/logout", json!({}))
        .await;
    assert_eq!(nobody.refused(), (401, "M_MISSING_TOKEN"));
}

#[tokio::test]
async fn login_and_registration_flows_are_json() {
    let app = TestApp::start().await;
    for (method, path, status) in [
        (Method::GET, LOGIN, 200),
        (Method::POST, "/_matrix/client/v3/register", 401),
    ] {
        let request = Request::builder().method(method).uri(path);
        let (head, body) = app.unauthenticated().exchange(request, "{}").await;
        assert_eq!(head.status, status, "{path}");
        assert_eq!(head.headers[header::CONTENT_TYPE], "application/json");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["flows"].is_array(), "{path}");
    }
}

/// A client at this address.
async fn login_from(app: &TestApp, address: [u8; 4], password: &str) -> Answer {
    let mut body = as_alice();
    body["password"] = json!(password);
    let request = Request::builder()
        .method(Method::POST)
        .uri(LOGIN)
        .extension(ClientAddress(IpAddr::from(address)));
    let (head, body) = app
        .unauthenticated()
        .exchange(request, body.to_string())
        .await;
    Answer {
        status: head.status.as_u16(),
        body: serde_json::from_slice(&body).unwrap(),
    }
}

#[tokio::test]
async fn guessing_a_password_does_not_lock_the_owner_out_elsewhere() {
    let limit = RateLimit {
        per_second: 0.000_001,
        burst: 2,
    };
    let app = TestApp::start_with(|config| {
        config.rate_limits.enabled = true;
        config.rate_limits.login = limit;
    })
    .await;
    app.user("alice").await;
    let (home, elsewhere) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let session = login_from(&app, home, PASSWORD).await.ok();
    let client = with_token(&app, &session);
    let whoami = Request::builder()
        .uri(WHOAMI)
        .extension(ClientAddress(IpAddr::from(home)));
    assert_eq!(client.exchange(whoami, "").await.0.status, 200);

    // One address is limited by itself.
    let guesser = [198, 51, 100, 1];
    for status in [403, 403, 429] {
        assert_eq!(login_from(&app, guesser, "wrong").await.status, status);
    }
    assert_eq!(login_from(&app, elsewhere, PASSWORD).await.status, 200);
    // Many addresses together are limited, except those of the owner's devices.
    let mut guesser = 1;
    while login_from(&app, [203, 0, 113, guesser], "wrong")
        .await
        .status
        == 403
    {
        guesser += 1;
    }
    assert!(guesser > 10);
    assert_eq!(
        login_from(&app, [203, 0, 113, 200], PASSWORD).await.status,
        429
    );
    assert_eq!(login_from(&app, home, PASSWORD).await.status, 200);
}
