//! Limits of one user's devices, rooms and account data.

use config::{ByteSize, Config};
use serde_json::json;

use crate::app::{Answer, PASSWORD, TestApp, TestUser};

const INFO: &str = "https://www.example.org/help/limits";

async fn limited(change: impl FnOnce(&mut Config)) -> (TestApp, TestUser) {
    let app = TestApp::start_with(|config| {
        config.limits.info_uri = Some(INFO.to_owned());
        change(config);
    })
    .await;
    let alice = app.user("alice").await;
    (app, alice)
}

#[track_caller]
fn assert_limited(answer: &Answer, limit: &str) {
    assert_eq!(answer.refused(), (403, "M_USER_LIMIT_EXCEEDED"));
    let error = answer.body["error"].as_str().unwrap();
    assert!(error.contains(limit), "{error}");
    assert_eq!(answer.body["info_uri"], INFO);
}

async fn log_in(app: &TestApp, device_id: &str) -> Answer {
    let body = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": PASSWORD,
        "device_id": device_id,
    });
    app.unauthenticated()
        .post("/_matrix/client/v3/login", body)
        .await
}

#[tokio::test]
async fn login_on_a_device_over_the_limit_is_refused_until_another_one_is_gone() {
    let (app, alice) = limited(|config| config.limits.devices_per_user = 2).await;
    let second = app.session(&log_in(&app, "SECOND").await.ok());
    assert_limited(&log_in(&app, "THIRD").await, "2 devices");
    let devices = alice.get("/_matrix/client/v3/devices").await.ok();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 2);
    // A device that is there may begin another session.
    log_in(&app, "SECOND").await.ok();
    let replaced = second.get("/_matrix/client/v3/devices").await;
    assert_eq!(replaced.refused().0, 401);
    let second = app.session(&log_in(&app, "SECOND").await.ok());
    let logout = second.post("/_matrix/client/v3/logout", json!({})).await;
    logout.ok();
    log_in(&app, "THIRD").await.ok();
}

#[tokio::test]
async fn a_user_in_as_many_rooms_as_allowed_neither_creates_nor_joins_one() {
    let (app, alice) = limited(|config| config.limits.rooms_per_user = 2).await;
    let bob = app.user("bob").await;
    let public = json!({ "preset": "public_chat" });
    let others = bob.create_room(public.clone()).await;
    let first = alice.create_room(public.clone()).await;
    alice.create_room(public.clone()).await;

    let created = alice.post("/_matrix/client/v3/createRoom", public).await;
    assert_limited(&created, "2 joined rooms");
    assert_limited(&alice.join(&others).await, "2 joined rooms");
    // Joining again is no further room.
    alice.join(&first).await.ok();
    bob.join(&first).await.ok();
    alice.room(&first, "leave", json!({})).await.ok();
    alice.join(&others).await.ok();
}

#[tokio::test]
async fn account_data_over_the_limit_is_refused_but_may_shrink() {
    let mib = ByteSize::mib(1);
    let (_app, alice) = limited(|config| config.limits.account_data_per_user = mib).await;
    let path = |kind: &str| {
        let user_id = &alice.user_id;
        format!("/_matrix/client/v3/user/{user_id}/account_data/{kind}")
    };
    let text = |kib: usize| json!({ "text": "x".repeat(kib << 10) });
    for kind in ["t0", "t1"] {
        alice.put(&path(kind), text(500)).await.ok();
    }
    let limit = "1 MiB of account data";
    assert_limited(&alice.put(&path("t2"), text(500)).await, limit);
    alice.put(&path("t0"), text(500)).await.ok();
    alice.put(&path("t0"), text(1)).await.ok();
    alice.put(&path("t2"), text(490)).await.ok();
    let room_id = alice.create_room(json!({})).await;
    let user_id = &alice.user_id;
    let of_room = format!("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/t");
    assert_limited(&alice.put(&of_room, text(500)).await, limit);
}
