//! Uploads of keys, and the device-list changes that follow.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{CrossSigner, Device, Pair, TIMEOUT, key_id, raw, setting, value};
use e2ee::{Error, KeyReplacement, KeyUpload};

#[tokio::test]
async fn identity_keys_are_announced_when_they_change_and_only_then() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device(&alice, "PHONE").await;
    setting
        .upload(&device, device.identity())
        .await
        .expect("uploaded");
    assert_eq!(setting.position(), 1);
    setting
        .upload(&device, device.identity())
        .await
        .expect("uploaded again");
    assert_eq!(setting.position(), 1);
    let reset = Device::new(&alice, "PHONE");
    setting
        .upload(&reset, reset.identity())
        .await
        .expect("uploaded others");
    assert_eq!(setting.position(), 2);
}

#[tokio::test]
async fn identity_keys_of_another_user_or_device_are_refused() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let bob = setting.user("bob").await;
    let phone = setting.device(&alice, "PHONE").await;
    let laptop = setting.device(&alice, "LAPTOP").await;
    let other = setting.device(&bob, "PHONE").await;
    for foreign in [laptop, other] {
        let refused = setting.upload(&phone, foreign.identity()).await;
        assert!(matches!(refused, Err(Error::WrongOwner)));
    }
    assert_eq!(setting.position(), 0);
}

#[tokio::test]
async fn identity_keys_with_a_forged_signature_are_refused() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device(&alice, "PHONE").await;
    let forger = Device::new(&alice, "PHONE");
    let mut keys = device.unsigned_keys();
    forger.pair.sign(&mut keys, &alice, "PHONE");
    let upload = KeyUpload {
        device_keys: Some(raw(keys)),
        ..KeyUpload::default()
    };
    let refused = setting.upload(&device, upload).await;
    assert!(matches!(refused, Err(Error::InvalidSignature(_))));
}

#[tokio::test]
async fn identity_keys_without_required_fields_are_malformed() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device(&alice, "PHONE").await;
    let keys = json!({ "user_id": alice, "device_id": "PHONE" });
    let upload = KeyUpload {
        device_keys: Some(raw(keys)),
        ..KeyUpload::default()
    };
    assert!(matches!(
        setting.upload(&device, upload).await,
        Err(Error::Malformed(_))
    ));
}

#[tokio::test]
async fn one_time_keys_are_counted_and_repeats_change_nothing() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let position = setting.position();
    let ids = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first = device.one_time_keys(ids(&["A", "B", "C"]));
    for _ in 0..2 {
        let counts = setting
            .upload(&device, first.clone())
            .await
            .expect("uploaded");
        assert_eq!(counts.one_time["signed_curve25519"], 3);
        assert_eq!(setting.position(), position + 1);
    }
    let overlapping = device.one_time_keys(ids(&["B", "C", "D"]));
    let counts = setting
        .upload(&device, overlapping)
        .await
        .expect("uploaded");
    assert_eq!(counts.one_time["signed_curve25519"], 4);
    assert_eq!(setting.position(), position + 2);
}

#[tokio::test]
async fn counts_name_signed_curve25519_even_when_there_is_none() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device(&alice, "PHONE").await;
    let counts = setting.counts(&device).await;
    assert_eq!(counts.one_time["signed_curve25519"], 0);
    assert_eq!(setting.position(), 0);
}

#[tokio::test]
async fn another_key_under_a_taken_id_is_refused_with_the_whole_upload() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device_with_key(&alice, "PHONE", "A").await;
    let mut upload = device.one_time_keys(["B".to_owned()]);
    upload
        .one_time_keys
        .insert(key_id("A"), raw(device.one_time_key("other")));
    let refused = setting.upload(&device, upload).await;
    assert!(matches!(refused, Err(Error::OneTimeKeyExists(id)) if id == "signed_curve25519:A"));
    let counts = setting.counts(&device).await;
    assert_eq!(counts.one_time["signed_curve25519"], 1);
}

#[tokio::test]
async fn one_time_keys_must_be_signed_by_the_device() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let forger = Device::new(&alice, "PHONE");
    for upload in [
        forger.one_time_keys(["A".to_owned()]),
        forger.fallback_key("F"),
    ] {
        let refused = setting.upload(&device, upload).await;
        assert!(matches!(refused, Err(Error::InvalidSignature(_))));
    }
}

#[tokio::test]
async fn a_new_fallback_key_is_unused_and_replaces_the_old_one() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let position = setting.position();
    let counts = setting
        .upload(&device, device.fallback_key("F1"))
        .await
        .expect("uploaded");
    assert_eq!(counts.unused_fallback, ["signed_curve25519"]);
    setting
        .upload(&device, device.fallback_key("F1"))
        .await
        .expect("uploaded again");
    assert_eq!(setting.position(), position + 1);
    setting
        .upload(&device, device.fallback_key("F2"))
        .await
        .expect("uploaded another");
    assert_eq!(setting.position(), position + 2);
}

#[tokio::test]
async fn keys_are_deleted_with_their_device() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device_with_key(&alice, "PHONE", "A").await;
    let mut db = setting.test.database.acquire().await.expect("a connection");
    storage::devices::delete(&mut db, &alice, std::slice::from_ref(&device.device_id))
        .await
        .expect("deleted");
    let refused = setting.upload(&device, KeyUpload::default()).await;
    assert!(matches!(refused, Err(Error::UnknownDevice)));
    let again = setting.device(&alice, "PHONE").await;
    let counts = setting.counts(&again).await;
    assert_eq!(counts.one_time["signed_curve25519"], 0);
}

#[tokio::test]
async fn device_signed_before_its_first_upload_stays_verified() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let signer = CrossSigner::new(&alice);
    let uploaded =
        setting
            .keys
            .upload_cross_signing(&alice, signer.upload(), KeyReplacement::Forbidden);
    uploaded.await.expect("uploaded");
    let device = setting.device(&alice, "PHONE").await;
    let mut keys = device.device_keys();
    signer
        .self_signing
        .sign(&mut keys, &alice, &signer.self_signing.public());
    Pair::new().sign(&mut keys, &alice, "UNKNOWN");
    Pair::new().sign(&mut keys, &bob, "KEY");
    let upload = |keys| KeyUpload {
        device_keys: Some(raw(keys)),
        ..KeyUpload::default()
    };
    // A later upload with fewer signatures removes none.
    for uploaded in [keys.clone(), device.device_keys()] {
        let uploaded = setting.upload(&device, upload(uploaded)).await;
        uploaded.expect("uploaded");
    }
    let users = BTreeMap::from([(alice.clone(), vec![])]);
    let seen = setting
        .keys
        .query(&bob, users, TIMEOUT)
        .await
        .expect("keys");
    let seen = value(&seen.device_keys[&alice][&device.device_id]);
    assert_eq!(seen["signatures"], keys["signatures"]);

    let mut forged = device.device_keys();
    Pair::new().sign(&mut forged, &alice, &signer.self_signing.public());
    let refused = setting.upload(&device, upload(forged)).await;
    assert!(matches!(refused, Err(Error::InvalidSignature(_))));
}

#[tokio::test]
async fn signatures_that_cannot_be_verified_do_not_accumulate() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device(&alice, "PHONE").await;
    let upload = async |number: usize| {
        let mut keys = device.device_keys();
        let name = format!("ed25519:{number}");
        keys["signatures"][alice.as_str()][name] = "x".repeat(20_000).into();
        let upload = KeyUpload {
            device_keys: Some(raw(keys)),
            ..KeyUpload::default()
        };
        setting.upload(&device, upload).await
    };
    for number in 0..3 {
        upload(number).await.expect("uploaded");
    }
    assert!(matches!(upload(3).await, Err(Error::KeyTooLarge)));
}
