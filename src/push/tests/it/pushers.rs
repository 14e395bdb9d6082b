//! Setting pushers.

use push::Error;
use serde_json::json;
use testkit::TestDatabase;

use crate::support::{Gateway, Process, alice, bob, draft};

async fn process() -> (Process, Gateway) {
    let test: TestDatabase = testkit::database().await;
    (Process::with_limit(test, 2), Gateway::start().await)
}

#[tokio::test]
async fn a_pusher_is_replaced_by_one_of_the_same_application_and_push_key() {
    let (process, gateway) = process().await;
    let alice = alice();
    let session = process.session(&alice, "PHONE").await;
    let plain = json!({ "url": gateway.url });
    let changed = json!({ "url": gateway.url, "format": "event_id_only" });
    for data in [plain, changed] {
        let set = process.push.set_pusher(&alice, session, draft("key", data));
        set.await.unwrap();
    }
    let pushers = process.push.pushers(&alice).await.unwrap();
    assert_eq!(pushers.len(), 1);
    let data = r#"{"format":"event_id_only"}"#;
    assert_eq!(pushers[0].settings.data, data);
}

#[tokio::test]
async fn a_push_key_is_of_one_user_unless_others_are_to_keep_it() {
    let (process, gateway) = process().await;
    let (alice, bob) = (alice(), bob());
    process.pusher(&alice, "shared", &gateway).await;
    let session = process.session(&bob, "PHONE").await;
    let appended = json!({
        "kind": "http", "app_id": "org.example.app", "pushkey": "shared", "lang": "en",
        "app_display_name": "", "device_display_name": "", "append": true,
        "data": { "url": gateway.url },
    });
    let appended = serde_json::from_value(appended).unwrap();
    let set = process.push.set_pusher(&bob, session, appended);
    set.await.unwrap();
    assert_eq!(process.push_keys(&alice).await, ["shared"]);
    assert_eq!(process.push_keys(&bob).await, ["shared"]);
    let replacing = draft("shared", json!({ "url": gateway.url }));
    let set = process.push.set_pusher(&bob, session, replacing);
    set.await.unwrap();
    assert!(process.push_keys(&alice).await.is_empty());
    assert_eq!(process.push_keys(&bob).await, ["shared"]);
}

#[tokio::test]
async fn more_pushers_than_the_limit_are_refused() {
    let (process, gateway) = process().await;
    let alice = alice();
    for key in ["one", "two"] {
        process.pusher(&alice, key, &gateway).await;
    }
    let session = process.session(&alice, "PHONE").await;
    let data = json!({ "url": gateway.url });
    let third = process
        .push
        .set_pusher(&alice, session, draft("three", data.clone()));
    assert!(matches!(third.await, Err(Error::UserLimit(_))));
    assert_eq!(process.push_keys(&alice).await, ["one", "two"]);
    // One that is there can be changed.
    let set = process.push.set_pusher(&alice, session, draft("two", data));
    set.await.unwrap();
}

#[tokio::test]
async fn pushers_end_with_their_sessions() {
    let (process, gateway) = process().await;
    let alice = alice();
    process.pusher(&alice, "one", &gateway).await;
    process.pusher(&alice, "two", &gateway).await;
    // A login on the device of the first one.
    let session = process.session(&alice, "one").await;
    assert_eq!(process.push_keys(&alice).await, ["two"]);
    let mut db = process.db.database.acquire().await.unwrap();
    let devices = [ruma::owned_device_id!("one"), ruma::owned_device_id!("two")];
    storage::devices::delete(&mut db, &alice, &devices)
        .await
        .unwrap();
    drop(db);
    assert!(process.push_keys(&alice).await.is_empty());
    let data = json!({ "url": gateway.url });
    let late = process
        .push
        .set_pusher(&alice, session, draft("three", data));
    assert!(matches!(late.await, Err(Error::SessionEnded)));
}
