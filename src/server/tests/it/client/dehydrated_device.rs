//! Devices that users leave on the server (MSC3814).

use serde_json::{Value, json};

use crate::app::{Answer, TestApp, TestUser, encoded};

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";

fn body(user: &TestUser, device_id: &str) -> Value {
    json!({
        "device_id": device_id,
        "device_data": { "algorithm": "org.example.pickle", "device_pickle": "secret" },
        "initial_device_display_name": "Left behind",
        "device_keys": {
            "user_id": user.user_id,
            "device_id": device_id,
            "algorithms": ["m.megolm.v1.aes-sha2"],
            "keys": { format!("ed25519:{device_id}"): "key" },
            "dehydrated": true,
        },
        "one_time_keys": { "curve25519:A": "a" },
    })
}

async fn events(user: &TestUser, device_id: &str, next_batch: Option<&str>) -> Answer {
    let body = next_batch.map_or_else(|| json!({}), |token| json!({ "next_batch": token }));
    let path = format!("{PATH}/{}/events", encoded(device_id));
    user.post(&path, body).await
}

async fn send(from: &TestUser, to: &TestUser, device_id: &str, transaction: &str) {
    let content = json!({ "n": transaction });
    let body = json!({ "messages": { &to.user_id: { device_id: content } } });
    let path = format!("/_matrix/client/v3/sendToDevice/my.type/{transaction}");
    from.put(&path, body).await.ok();
}

/// The keys of the user's devices, by device.
async fn keys(by: &TestUser, of: &TestUser) -> Value {
    let body = json!({ "device_keys": { &of.user_id: [] } });
    let answer = by.post("/_matrix/client/v3/keys/query", body).await.ok();
    answer["device_keys"][&of.user_id].clone()
}

#[tokio::test]
async fn a_dehydrated_device_receives_messages_until_it_is_deleted() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    assert_eq!(alice.get(PATH).await.refused(), (404, "M_NOT_FOUND"));
    let put = alice.put(PATH, body(&alice, "LEFT")).await.ok();
    assert_eq!(put, json!({ "device_id": "LEFT" }));
    let expected = json!({ "device_id": "LEFT", "device_data": body(&alice, "")["device_data"] });
    assert_eq!(alice.get(PATH).await.ok(), expected);
    assert_eq!(bob.get(PATH).await.refused(), (404, "M_NOT_FOUND"));
    assert_eq!(keys(&bob, &alice).await["LEFT"]["dehydrated"], true);
    let claim = json!({ "one_time_keys": { &alice.user_id: { "LEFT": "curve25519" } } });
    let claimed = bob.post("/_matrix/client/v3/keys/claim", claim).await.ok();
    let claimed = &claimed["one_time_keys"][&alice.user_id]["LEFT"];
    assert_eq!(*claimed, json!({ "curve25519:A": "a" }));

    send(&bob, &alice, "LEFT", "1").await;
    send(&bob, &alice, "*", "2").await;
    // The same again after an interruption.
    for _ in 0..2 {
        let page = events(&alice, "LEFT", None).await.ok();
        let message =
            |n: &str| json!({ "type": "my.type", "sender": bob.user_id, "content": { "n": n } });
        assert_eq!(page["events"], json!([message("1"), message("2")]));
        let next = page["next_batch"].as_str().unwrap();
        let page = events(&alice, "LEFT", Some(next)).await.ok();
        assert_eq!(page["events"], json!([]));
    }
    let deleted = alice.delete(PATH).await.ok();
    assert_eq!(deleted, json!({ "device_id": "LEFT" }));
    assert_eq!(keys(&bob, &alice).await.get("LEFT"), None);
    for refused in [
        alice.get(PATH).await,
        alice.delete(PATH).await,
        events(&alice, "LEFT", None).await,
    ] {
        assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    }
}

#[tokio::test]
async fn another_dehydrated_device_takes_the_place_of_the_first() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    for device_id in ["FIRST", "SECOND", "SECOND"] {
        alice.put(PATH, body(&alice, device_id)).await.ok();
        assert_eq!(alice.get(PATH).await.ok()["device_id"], device_id);
    }
    let keys = keys(&bob, &alice).await;
    assert!(keys.get("FIRST").is_none() && keys.get("SECOND").is_some());
    let other = events(&alice, "FIRST", None).await;
    assert_eq!(other.refused(), (404, "M_NOT_FOUND"));
    let bad_token = events(&alice, "SECOND", Some("x")).await;
    assert_eq!(bad_token.refused(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn what_is_no_dehydrated_device_is_refused_and_not_kept() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let mut without_keys = body(&alice, "LEFT");
    without_keys.as_object_mut().unwrap().remove("device_keys");
    let mut no_object = body(&alice, "LEFT");
    no_object["device_data"] = json!([]);
    let mut large = body(&alice, "LEFT");
    large["device_data"]["device_pickle"] = json!("x".repeat(65_536));
    let mut foreign_keys = body(&alice, "LEFT");
    foreign_keys["device_keys"]["device_id"] = json!("OTHER");
    for (refused, errcode) in [
        (without_keys, (400, "M_BAD_JSON")),
        (no_object, (400, "M_BAD_JSON")),
        (large, (413, "M_TOO_LARGE")),
        (foreign_keys, (400, "M_INVALID_PARAM")),
        // A device that is in use stays what it is.
        (body(&alice, &alice.device_id), (400, "M_INVALID_PARAM")),
    ] {
        let answer = alice.put(PATH, refused).await;
        assert_eq!(answer.refused(), errcode);
        assert_eq!(alice.get(PATH).await.refused(), (404, "M_NOT_FOUND"));
    }
    let devices = alice.get("/_matrix/client/v3/devices").await.ok();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
}
