//! `/account` and `/devices`.

use http::Method;
use serde_json::{Value, json};

use crate::app::{Answer, PASSWORD, TestApp, TestUser};

const CHANGE_PASSWORD: &str = "/_matrix/client/v3/account/password";
const DEACTIVATE: &str = "/_matrix/client/v3/account/deactivate";

/// The credentials that the caller knows the password.
fn password(user: &TestUser) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user.user_id },
        "password": PASSWORD,
    })
}

async fn log_in(app: &TestApp, user: &str, password: &str) -> Answer {
    let body = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user },
        "password": password,
        "device_id": "OTHER",
    });
    app.unauthenticated()
        .post("/_matrix/client/v3/login", body)
        .await
}

#[tokio::test]
async fn password_is_changed_after_the_old_one_is_given() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let mut other = app.unauthenticated();
    other.token = log_in(&app, "alice", PASSWORD).await.ok()["access_token"]
        .as_str()
        .map(str::to_owned);
    let mut body = json!({ "new_password": "new", "auth": password(&alice) });
    body["auth"]["password"] = json!("wrong");
    let refused = alice.post(CHANGE_PASSWORD, body.clone()).await;
    assert_eq!(refused.refused(), (401, "M_FORBIDDEN"));
    assert!(refused.body["flows"].is_array() && refused.body["session"].is_string());
    // The form of old clients: the user beside the password.
    body["auth"] =
        json!({ "type": "m.login.password", "user": alice.user_id, "password": PASSWORD });
    alice.post(CHANGE_PASSWORD, body).await.ok();

    let whoami = "/_matrix/client/v3/account/whoami";
    alice.get(whoami).await.ok();
    assert_eq!(other.get(whoami).await.refused(), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(
        log_in(&app, "alice", PASSWORD).await.refused(),
        (403, "M_FORBIDDEN")
    );
    log_in(&app, "alice", "new").await.ok();
}

#[tokio::test]
async fn password_is_not_changed_without_a_token() {
    let app = TestApp::start().await;
    let answer = app
        .unauthenticated()
        .post(CHANGE_PASSWORD, json!({ "new_password": "new" }))
        .await;
    assert_eq!(answer.refused(), (401, "M_MISSING_TOKEN"));
}

#[tokio::test]
async fn authentication_serves_one_request_only() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let asked = alice
        .post(CHANGE_PASSWORD, json!({ "new_password": "one" }))
        .await;
    let mut auth = password(&alice);
    auth["session"] = asked.body["session"].clone();
    let another = json!({ "new_password": "two", "auth": auth });
    let answer = alice.post(CHANGE_PASSWORD, another.clone()).await;
    assert_eq!(answer.refused(), (403, "M_FORBIDDEN"));
    assert_eq!(
        alice.post(DEACTIVATE, another).await.refused(),
        (403, "M_FORBIDDEN")
    );
    let same = json!({ "new_password": "one", "auth": auth });
    alice.post(CHANGE_PASSWORD, same).await.ok();
}

#[tokio::test]
async fn deactivated_user_leaves_all_rooms() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = bob.create_room(json!({ "preset": "public_chat" })).await;
    alice.join(&room_id).await.ok();
    assert_eq!(alice.post(DEACTIVATE, json!({})).await.status, 401);
    let answer = alice
        .post(DEACTIVATE, json!({ "auth": password(&alice) }))
        .await
        .ok();
    assert_eq!(answer, json!({ "id_server_unbind_result": "success" }));
    assert_eq!(bob.membership(&room_id, &alice).await, "leave");
    assert_eq!(
        log_in(&app, "alice", PASSWORD).await.refused(),
        (403, "M_FORBIDDEN")
    );
    let again = app
        .unauthenticated()
        .get("/_matrix/client/v3/register/available?username=alice")
        .await;
    assert_eq!(again.refused(), (400, "M_USER_IN_USE"));
}

#[tokio::test]
async fn devices_are_shown_and_named() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    log_in(&app, "alice", PASSWORD).await.ok();
    let path = "/_matrix/client/v3/devices/OTHER";
    alice
        .put(path, json!({ "display_name": "My phone" }))
        .await
        .ok();
    alice.put(path, json!({})).await.ok();
    let device = alice.get(path).await.ok();
    assert_eq!(device["display_name"], "My phone");
    let unknown = "/_matrix/client/v3/devices/NOTHING";
    assert_eq!(alice.get(unknown).await.refused(), (404, "M_NOT_FOUND"));
    let named = alice.put(unknown, json!({ "display_name": "x" })).await;
    assert_eq!(named.refused(), (404, "M_NOT_FOUND"));
    let list = alice.get("/_matrix/client/v3/devices").await.ok();
    let own = list["devices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["device_id"] == alice.device_id);
    assert!(own.unwrap()["last_seen_ts"].is_u64());
}

#[tokio::test]
async fn devices_are_deleted_by_their_owner() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    log_in(&app, "alice", PASSWORD).await.ok();
    let path = "/_matrix/client/v3/devices/OTHER";
    let asked = alice.delete(path).await;
    assert_eq!(asked.status, 401);
    assert_eq!(
        asked.body["flows"],
        json!([{ "stages": ["m.login.password"] }])
    );
    let auth = json!({ "auth": password(&bob) }).to_string();
    let foreign = alice.call(Method::DELETE, path, auth).await;
    assert_eq!(foreign.refused(), (403, "M_FORBIDDEN"));
    alice.get(path).await.ok();
    let auth = json!({ "auth": password(&alice) }).to_string();
    alice.call(Method::DELETE, path, auth).await.ok();
    assert_eq!(alice.get(path).await.refused(), (404, "M_NOT_FOUND"));

    log_in(&app, "alice", PASSWORD).await.ok();
    let body = json!({ "devices": ["OTHER", "NOTHING"], "auth": password(&alice) });
    alice
        .post("/_matrix/client/v3/delete_devices", body)
        .await
        .ok();
    assert_eq!(alice.get(path).await.refused(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn wrong_password_does_not_deactivate() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let asked = alice.post(DEACTIVATE, json!({})).await;
    let flows = json!([{ "stages": ["m.login.password"] }]);
    assert_eq!(asked.body["flows"], flows);
    let mut auth = password(&alice);
    auth["password"] = json!("wrong");
    let refused = alice.post(DEACTIVATE, json!({ "auth": auth })).await;
    assert_eq!(refused.refused(), (401, "M_FORBIDDEN"));
    app.login(&alice, "OTHER").await;
}

#[tokio::test]
async fn login_names_its_device_and_all_are_listed() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    app.login(&alice, "SECOND").await;
    let body = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": PASSWORD,
        "device_id": "NAMED",
        "initial_device_display_name": "My phone",
    });
    let login = app
        .unauthenticated()
        .post("/_matrix/client/v3/login", body)
        .await;
    assert_eq!(login.ok()["device_id"], "NAMED");
    let device = alice.get("/_matrix/client/v3/devices/NAMED").await.ok();
    assert_eq!(device["device_id"], "NAMED");
    assert_eq!(device["display_name"], "My phone");
    let list = alice.get("/_matrix/client/v3/devices").await.ok();
    let mut listed: Vec<&str> = list["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["device_id"].as_str().unwrap())
        .collect();
    listed.sort_unstable();
    let mut expected = ["NAMED", "SECOND", &alice.device_id];
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn deleting_a_device_takes_the_right_password_and_ends_its_session() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let other = app.login(&alice, "OTHER").await;
    let path = "/_matrix/client/v3/devices/OTHER";
    let mut auth = password(&alice);
    auth["password"] = json!("wrong");
    let wrong = json!({ "auth": auth }).to_string();
    let refused = alice.call(Method::DELETE, path, wrong).await;
    assert_eq!(refused.refused(), (401, "M_FORBIDDEN"));
    for field in ["session", "flows", "params", "error"] {
        assert!(refused.body.get(field).is_some(), "{field}");
    }
    other.get("/_matrix/client/v3/sync").await.ok();
    let right = json!({ "auth": password(&alice) }).to_string();
    alice.call(Method::DELETE, path, right).await.ok();
    let ended = other.get("/_matrix/client/v3/sync").await;
    assert_eq!(ended.refused(), (401, "M_UNKNOWN_TOKEN"));
}
