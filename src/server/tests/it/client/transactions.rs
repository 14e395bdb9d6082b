//! Transaction ids belong to a device, whatever token it uses.

use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp, TestUser};

/// The transaction id that a sync shows to the device with the room's last event.
async fn echoed(user: &TestUser, room_id: &str, event_id: &str) -> Value {
    let answer = user.sync("").await;
    let events = &answer["rooms"]["join"][room_id]["timeline"]["events"];
    let event = events.as_array().unwrap().last().unwrap();
    assert_eq!(event["event_id"], event_id);
    event["unsigned"]["transaction_id"].clone()
}

#[tokio::test]
async fn device_keeps_its_transactions_when_it_logs_in_again() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let sent = alice.send(&room_id, "abc", json!({ "body": "one" })).await;
    assert_eq!(echoed(&alice, &room_id, &sent).await, "abc");
    let again = app.login(&alice, &alice.device_id).await;
    assert_eq!(again.device_id, alice.device_id);
    assert_eq!(echoed(&again, &room_id, &sent).await, "abc");
    let repeated = again.send(&room_id, "abc", json!({ "body": "one" })).await;
    assert_eq!(repeated, sent);

    let other = app.login(&alice, "OTHER").await;
    assert_eq!(echoed(&other, &room_id, &sent).await, Value::Null);
    let theirs = other.send(&room_id, "abc", json!({ "body": "one" })).await;
    assert_ne!(theirs, sent);
}

#[tokio::test]
async fn device_keeps_its_transactions_when_its_token_is_refreshed() {
    let app = TestApp::start().await;
    app.user("alice").await;
    let body = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": PASSWORD,
        "refresh_token": true,
    });
    let unauthenticated = app.unauthenticated();
    let login = unauthenticated
        .post("/_matrix/client/v3/login", body)
        .await
        .ok();
    let mut alice = app.session(&login);
    let room_id = alice.create_room(json!({})).await;
    let sent = alice.send(&room_id, "abc", json!({ "body": "one" })).await;
    let body = json!({ "refresh_token": login["refresh_token"] });
    let refreshed = unauthenticated
        .post("/_matrix/client/v3/refresh", body)
        .await;
    let token = refreshed.ok()["access_token"].take();
    alice.client.token = token.as_str().map(str::to_owned);
    assert_eq!(echoed(&alice, &room_id, &sent).await, "abc");
    let repeated = alice.send(&room_id, "abc", json!({ "body": "one" })).await;
    assert_eq!(repeated, sent);
}
