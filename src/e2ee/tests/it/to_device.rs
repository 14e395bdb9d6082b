//! Messages reach the devices they are for, once.

use std::collections::BTreeMap;

use ruma::{DeviceId, OwnedUserId, UserId, to_device::DeviceIdOrAllDevices};
use serde_json::{Value, json};
use storage::to_device;
use types::StreamPosition;

use crate::support::{Device, Setting, raw, setting};
use e2ee::{Error, MAX_MESSAGE_BYTES, Messages};

async fn send(
    setting: &Setting,
    from: &Device,
    transaction_id: &str,
    messages: Messages,
) -> Result<(), Error> {
    let sender = (&*from.user_id, &*from.device_id);
    setting
        .keys
        .send_to_device(sender, transaction_id.into(), "m.test", messages)
        .await
}

fn message(to: &OwnedUserId, device: &str, content: Value) -> Messages {
    let device = DeviceIdOrAllDevices::try_from(device).expect("a device");
    BTreeMap::from([(to.clone(), BTreeMap::from([(device, raw(content))]))])
}

async fn waiting(setting: &Setting, user_id: &UserId, device_id: &DeviceId) -> Vec<(i64, String)> {
    let mut db = setting.test.database.acquire().await.expect("a connection");
    let (from, to) = (StreamPosition(0), StreamPosition(setting.position()));
    let found = to_device::pending(&mut db, user_id, device_id, from, to, 100).await;
    let found = found.expect("messages");
    found
        .into_iter()
        .map(|(position, message)| (position.get(), message.content.to_string()))
        .collect()
}

#[tokio::test]
async fn a_message_is_stored_until_its_device_acknowledges_it() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let from = setting.device(&alice, "PHONE").await;
    let to = setting.device(&bob, "PHONE").await;
    let other = setting.device(&bob, "LAPTOP").await;
    for number in 1..=2 {
        let content = json!({ "n": number });
        let transaction_id = format!("t{number}");
        let messages = message(&bob, "PHONE", content);
        send(&setting, &from, &transaction_id, messages)
            .await
            .expect("sent");
    }
    let found = waiting(&setting, &bob, &to.device_id).await;
    assert_eq!(
        found,
        [(1, r#"{"n":1}"#.to_owned()), (2, r#"{"n":2}"#.to_owned())]
    );
    assert!(waiting(&setting, &bob, &other.device_id).await.is_empty());
    let mut db = setting.test.database.acquire().await.expect("a connection");
    let deleted = to_device::acknowledge(&mut db, &bob, &to.device_id, StreamPosition(1)).await;
    assert_eq!(deleted.expect("deleted"), 1);
    assert_eq!(waiting(&setting, &bob, &to.device_id).await.len(), 1);
}

#[tokio::test]
async fn a_transaction_of_a_device_is_sent_once() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let phone = setting.device(&alice, "PHONE").await;
    let laptop = setting.device(&alice, "LAPTOP").await;
    let to = setting.device(&bob, "PHONE").await;
    for from in [&phone, &phone, &laptop] {
        send(&setting, from, "t", message(&bob, "PHONE", json!({})))
            .await
            .expect("sent");
    }
    assert_eq!(waiting(&setting, &bob, &to.device_id).await.len(), 2);
}

#[tokio::test]
async fn a_repeat_at_the_same_time_is_sent_once() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let phone = setting.device(&alice, "PHONE").await;
    let send = || send(&setting, &phone, "t", message(&alice, "*", json!({})));
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    for sent in [a, b, c, d] {
        sent.expect("sent");
    }
    assert_eq!(waiting(&setting, &alice, &phone.device_id).await.len(), 1);
}

#[tokio::test]
async fn a_wildcard_addresses_all_devices_and_unknown_devices_are_skipped() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let from = setting.device(&alice, "PHONE").await;
    let devices = [
        setting.device(&bob, "PHONE").await,
        setting.device(&bob, "LAPTOP").await,
    ];
    send(&setting, &from, "t1", message(&bob, "*", json!({})))
        .await
        .expect("sent");
    send(&setting, &from, "t2", message(&bob, "NOWHERE", json!({})))
        .await
        .expect("sent");
    for device in devices {
        assert_eq!(waiting(&setting, &bob, &device.device_id).await.len(), 1);
    }
    let mut db = setting.test.database.acquire().await.expect("a connection");
    let (from, to) = (StreamPosition(0), StreamPosition(setting.position()));
    let nowhere = to_device::pending(&mut db, &bob, "NOWHERE".into(), from, to, 1).await;
    assert!(nowhere.expect("messages").is_empty());
}

#[tokio::test]
async fn oversized_and_malformed_messages_are_refused() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let from = setting.device(&alice, "PHONE").await;
    let large = json!({ "body": "x".repeat(MAX_MESSAGE_BYTES) });
    let refused = send(&setting, &from, "t", message(&alice, "*", large)).await;
    assert!(matches!(refused, Err(Error::MessageTooLarge)));
    let refused = send(&setting, &from, "t", message(&alice, "*", json!("text"))).await;
    assert!(matches!(refused, Err(Error::MalformedMessage)));
    // Nothing was sent, so the transaction id is still free.
    send(&setting, &from, "t", message(&alice, "*", json!({})))
        .await
        .expect("sent");
    assert_eq!(setting.position(), 1);
}

#[tokio::test]
async fn transactions_expire_after_a_day() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let from = setting.device(&alice, "PHONE").await;
    for (transaction_id, later_ms) in [("t", 0), ("t", 90_000_000), ("other", 0), ("t", 0)] {
        setting.clock.advance(later_ms);
        send(
            &setting,
            &from,
            transaction_id,
            message(&alice, "*", json!({})),
        )
        .await
        .expect("sent");
    }
    assert_eq!(waiting(&setting, &alice, &from.device_id).await.len(), 3);
}
