//! Which cross-signing keys are taken, and when the user must authenticate for it.

use std::collections::BTreeMap;

use ruma::UserId;
use serde_json::{Value, json};

use crate::support::{CrossSigner, Pair, Setting, TIMEOUT, raw, setting, value};
use e2ee::{CrossSigningUpload, Error, KeyReplacement};

#[tokio::test]
async fn first_keys_and_the_same_again_need_no_authentication() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let signer = CrossSigner::new(&alice);
    for _ in 0..2 {
        let upload = signer.upload();
        let replaces = setting.keys.replaces_cross_signing(&alice, &upload).await;
        assert!(!replaces.expect("an answer"));
        let uploaded = setting
            .keys
            .upload_cross_signing(&alice, upload, KeyReplacement::Forbidden);
        uploaded.await.expect("uploaded");
        assert_eq!(setting.position(), 1);
    }
}

#[tokio::test]
async fn other_keys_are_stored_only_after_authentication() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let (first, second) = (CrossSigner::new(&alice), CrossSigner::new(&alice));
    let upload =
        setting
            .keys
            .upload_cross_signing(&alice, first.upload(), KeyReplacement::Forbidden);
    upload.await.expect("uploaded");
    let other_self_signing = CrossSigningUpload {
        self_signing: Some(first.raw_key("self_signing", &Pair::new())),
        ..CrossSigningUpload::default()
    };
    for upload in [other_self_signing, second.upload()] {
        let replaces = setting.keys.replaces_cross_signing(&alice, &upload).await;
        assert!(replaces.expect("an answer"));
        let refused = setting
            .keys
            .upload_cross_signing(&alice, upload.clone(), KeyReplacement::Forbidden)
            .await;
        assert!(matches!(refused, Err(Error::ReplacementForbidden)));
        let replaced = setting
            .keys
            .upload_cross_signing(&alice, upload, KeyReplacement::Allowed)
            .await;
        replaced.expect("replaced");
    }
}

#[tokio::test]
async fn the_master_key_must_have_signed_the_others() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let (signer, forger) = (CrossSigner::new(&alice), CrossSigner::new(&alice));
    let mut forged = signer.key("self_signing", &signer.self_signing);
    forged["signatures"] = json!({});
    forger
        .master
        .sign(&mut forged, &alice, &signer.master.public());
    let upload = CrossSigningUpload {
        self_signing: Some(raw(forged)),
        ..signer.upload()
    };
    let refused = setting
        .keys
        .upload_cross_signing(&alice, upload, KeyReplacement::Allowed)
        .await;
    assert!(matches!(refused, Err(Error::InvalidSignature(_))));
    assert_eq!(setting.position(), 0);
}

#[tokio::test]
async fn keys_without_a_master_key_are_refused() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let upload = CrossSigningUpload {
        master: None,
        ..CrossSigner::new(&alice).upload()
    };
    let refused = setting
        .keys
        .upload_cross_signing(&alice, upload, KeyReplacement::Allowed)
        .await;
    assert!(matches!(refused, Err(Error::NoMasterKey)));
}

#[tokio::test]
async fn a_key_that_is_a_device_id_is_refused() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let signer = CrossSigner::new(&alice);
    setting.device(&alice, &signer.master.public()).await;
    let refused = setting
        .keys
        .upload_cross_signing(&alice, signer.upload(), KeyReplacement::Allowed)
        .await;
    assert!(matches!(refused, Err(Error::KeyIsDeviceId)));
}

#[tokio::test]
async fn keys_of_another_user_or_of_the_wrong_shape_are_refused() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let bob = setting.user("bob").await;
    let refused = setting
        .keys
        .upload_cross_signing(
            &alice,
            CrossSigner::new(&bob).upload(),
            KeyReplacement::Allowed,
        )
        .await;
    assert!(matches!(refused, Err(Error::WrongOwner)));
    let signer = CrossSigner::new(&alice);
    let two = json!({
        "user_id": alice,
        "usage": ["master"],
        "keys": { "ed25519:a": "a", "ed25519:b": "b" },
    });
    for key in [signer.key("self_signing", &signer.master), two] {
        let upload = CrossSigningUpload {
            master: Some(raw(key)),
            ..signer.upload()
        };
        let refused = setting
            .keys
            .upload_cross_signing(&alice, upload, KeyReplacement::Allowed)
            .await;
        assert!(matches!(refused, Err(Error::Malformed(_))));
    }
}

#[tokio::test]
async fn a_new_master_key_that_signed_the_other_keys_keeps_them() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let mut signer = CrossSigner::new(&alice);
    for replacement in [KeyReplacement::Forbidden, KeyReplacement::Allowed] {
        let uploaded = setting
            .keys
            .upload_cross_signing(&alice, signer.upload(), replacement);
        uploaded.await.expect("uploaded");
        signer.master = Pair::new();
    }
    let mut db = setting.test.database.acquire().await.expect("a connection");
    let stored = storage::cross_signing::of_users(&mut db, std::slice::from_ref(&alice)).await;
    assert_eq!(stored.expect("keys").len(), 3);
}

/// The user's keys by usage, as the user sees them.
async fn stored(setting: &Setting, user_id: &UserId) -> [Value; 3] {
    let users = BTreeMap::from([(user_id.to_owned(), vec![])]);
    let keys = setting
        .keys
        .query(user_id, users, TIMEOUT)
        .await
        .expect("keys");
    [
        value(&keys.master_keys[user_id]),
        value(&keys.self_signing_keys[user_id]),
        value(&keys.user_signing_keys[user_id]),
    ]
}

#[tokio::test]
async fn signatures_on_cross_signing_keys_are_stored_as_sent() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let signer = CrossSigner::new(&alice);
    let mut master = signer.master_key();
    signer
        .master
        .sign(&mut master, &alice, &signer.master.public());
    device.pair.sign(&mut master, &alice, "PHONE");
    // A device that the server does not know, and another user.
    Pair::new().sign(&mut master, &alice, "UNKNOWN");
    Pair::new().sign(&mut master, &bob, "PHONE");
    master["signatures"][alice.as_str()]["sphincs:KEY"] = "c2lnbmF0dXJl".into();
    let mut self_signing = signer.key("self_signing", &signer.self_signing);
    device.pair.sign(&mut self_signing, &alice, "PHONE");
    let upload = CrossSigningUpload {
        master: Some(raw(master.clone())),
        self_signing: Some(raw(self_signing.clone())),
        ..signer.upload()
    };
    let uploaded = setting
        .keys
        .upload_cross_signing(&alice, upload, KeyReplacement::Forbidden);
    uploaded.await.expect("uploaded");
    let user_signing = signer.key("user_signing", &signer.user_signing);
    assert_eq!(
        stored(&setting, &alice).await,
        [master, self_signing, user_signing]
    );
}

#[tokio::test]
async fn wrong_signatures_on_cross_signing_keys_are_refused() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    setting.device_with_keys(&alice, "PHONE").await;
    let (signer, forger) = (CrossSigner::new(&alice), Pair::new());
    for name in [
        "PHONE",
        &signer.master.public(),
        &signer.self_signing.public(),
    ] {
        let mut master = signer.master_key();
        forger.sign(&mut master, &alice, name);
        let upload = CrossSigningUpload {
            master: Some(raw(master)),
            ..signer.upload()
        };
        let refused = setting
            .keys
            .upload_cross_signing(&alice, upload, KeyReplacement::Allowed)
            .await;
        assert!(matches!(refused, Err(Error::InvalidSignature(_))), "{name}");
    }
    let mut malformed = signer.master_key();
    malformed["signatures"] = json!({ alice.as_str(): "signature" });
    let upload = CrossSigningUpload {
        master: Some(raw(malformed)),
        ..signer.upload()
    };
    let refused = setting
        .keys
        .upload_cross_signing(&alice, upload, KeyReplacement::Allowed)
        .await;
    assert!(matches!(refused, Err(Error::Malformed(_))));
}

#[tokio::test]
async fn new_signatures_on_the_same_keys_are_added_without_authentication() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let (signer, of_bob) = (CrossSigner::new(&alice), CrossSigner::new(&bob));
    for (user_id, signer) in [(&alice, &signer), (&bob, &of_bob)] {
        let uploaded =
            setting
                .keys
                .upload_cross_signing(user_id, signer.upload(), KeyReplacement::Forbidden);
        uploaded.await.expect("uploaded");
    }
    let mut signed = of_bob.master_key();
    signer
        .user_signing
        .sign(&mut signed, &alice, &signer.user_signing.public());
    let keys = BTreeMap::from([(of_bob.master.public(), crate::support::raw_value(signed))]);
    let failures = setting
        .keys
        .upload_signatures(&alice, BTreeMap::from([(bob.clone(), keys)]))
        .await;
    assert!(failures.expect("an answer").is_empty());

    let mut master = signer.master_key();
    device.pair.sign(&mut master, &alice, "PHONE");
    let upload = CrossSigningUpload {
        master: Some(raw(master.clone())),
        ..CrossSigningUpload::default()
    };
    let replaces = setting.keys.replaces_cross_signing(&alice, &upload).await;
    assert!(!replaces.expect("an answer"));
    let uploaded = setting
        .keys
        .upload_cross_signing(&alice, upload, KeyReplacement::Forbidden);
    uploaded.await.expect("uploaded");
    assert_eq!(stored(&setting, &alice).await[0], master);
    // The keys are the same: what the user signed with them is still there.
    let users = BTreeMap::from([(bob.clone(), vec![])]);
    let seen = setting
        .keys
        .query(&alice, users, TIMEOUT)
        .await
        .expect("keys");
    assert!(value(&seen.master_keys[&bob])["signatures"][alice.as_str()].is_object());
}
