//! Which cross-signing keys are taken, and when the user must authenticate for it.

use serde_json::json;

use crate::support::{CrossSigner, Pair, raw, setting};
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
