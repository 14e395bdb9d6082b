//! Signatures are checked before anybody sees them, and seen by those whom they concern.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, UserId};
use serde_json::Value;

use crate::support::{CrossSigner, Pair, Setting, TIMEOUT, raw_value, setting, value};
use e2ee::{Error, KeyReplacement, SignatureFailures};

async fn cross_signer(setting: &Setting, user_id: &UserId) -> CrossSigner {
    let signer = CrossSigner::new(user_id);
    let upload =
        setting
            .keys
            .upload_cross_signing(user_id, signer.upload(), KeyReplacement::Forbidden);
    upload.await.expect("uploaded");
    signer
}

async fn upload(
    setting: &Setting,
    by: &UserId,
    owner: &UserId,
    key_id: &str,
    object: Value,
) -> SignatureFailures {
    let keys = BTreeMap::from([(key_id.to_owned(), raw_value(object))]);
    let signed = BTreeMap::from([(owner.to_owned(), keys)]);
    setting
        .keys
        .upload_signatures(by, signed)
        .await
        .expect("an answer")
}

/// Why the only object was refused.
fn reason(refused: SignatureFailures) -> Error {
    let keys = refused.into_values().next().expect("a refusal");
    keys.into_values().next().expect("a reason")
}

async fn master_key(setting: &Setting, owner: &OwnedUserId, viewer: &UserId) -> Value {
    let wanted = BTreeMap::from([(owner.clone(), vec![])]);
    let keys = setting
        .keys
        .query(viewer, wanted, TIMEOUT)
        .await
        .expect("keys");
    value(&keys.master_keys[owner])
}

#[tokio::test]
async fn the_signature_of_an_owner_on_a_device_is_returned_to_all() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let bob = setting.user("bob").await;
    let signer = cross_signer(&setting, &alice).await;
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let position = setting.position();
    let mut signed = device.device_keys();
    signer
        .self_signing
        .sign(&mut signed, &alice, &signer.self_signing.public());
    for _ in 0..2 {
        let refused = upload(&setting, &alice, &alice, "PHONE", signed.clone()).await;
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(setting.position(), position + 1, "announced once");
    }
    // Identity keys that the device uploads again do not take the signature away.
    setting
        .upload(&device, device.identity())
        .await
        .expect("uploaded");
    let wanted = BTreeMap::from([(alice.clone(), vec![])]);
    let keys = setting
        .keys
        .query(&bob, wanted, TIMEOUT)
        .await
        .expect("keys");
    let seen = value(&keys.device_keys[&alice][&device.device_id]);
    assert_eq!(seen["signatures"], signed["signatures"]);
}

#[tokio::test]
async fn a_signature_on_another_user_is_returned_to_its_signer_only() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let carol = setting.user("carol").await;
    let (by_alice, of_bob) = (
        cross_signer(&setting, &alice).await,
        cross_signer(&setting, &bob).await,
    );
    let mut signed = of_bob.master_key();
    by_alice
        .user_signing
        .sign(&mut signed, &alice, &by_alice.user_signing.public());
    let refused = upload(
        &setting,
        &alice,
        &bob,
        &of_bob.master.public(),
        signed.clone(),
    )
    .await;
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(
        master_key(&setting, &bob, &alice).await["signatures"],
        signed["signatures"]
    );
    for viewer in [&bob, &carol] {
        assert!(master_key(&setting, &bob, viewer).await["signatures"][alice.as_str()].is_null());
    }
}

#[tokio::test]
async fn a_device_signs_the_master_key_of_its_owner() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let signer = cross_signer(&setting, &alice).await;
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let mut signed = signer.master_key();
    device.pair.sign(&mut signed, &alice, "PHONE");
    let refused = upload(
        &setting,
        &alice,
        &alice,
        &signer.master.public(),
        signed.clone(),
    )
    .await;
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(
        master_key(&setting, &alice, &bob).await["signatures"],
        signed["signatures"]
    );
}

#[tokio::test]
async fn forged_signatures_are_refused_and_not_stored() {
    let setting = setting().await;
    let (alice, bob) = (setting.user("alice").await, setting.user("bob").await);
    let (by_alice, of_bob) = (
        cross_signer(&setting, &alice).await,
        cross_signer(&setting, &bob).await,
    );
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let position = setting.position();
    let forger = Pair::new();

    let mut forged = device.device_keys();
    forger.sign(&mut forged, &alice, &by_alice.self_signing.public());
    let refused = upload(&setting, &alice, &alice, "PHONE", forged).await;
    assert!(matches!(reason(refused), Error::InvalidSignature(_)));

    let mut unknown = device.device_keys();
    forger.sign(&mut unknown, &alice, &forger.public());
    let refused = upload(&setting, &alice, &alice, "PHONE", unknown).await;
    assert!(matches!(reason(refused), Error::InvalidSignature(_)));

    let mut forged = of_bob.master_key();
    forger.sign(&mut forged, &alice, &by_alice.user_signing.public());
    let refused = upload(&setting, &alice, &bob, &of_bob.master.public(), forged).await;
    assert!(matches!(reason(refused), Error::InvalidSignature(_)));

    // Only the user-signing key vouches for others.
    let mut wrong_key = of_bob.master_key();
    by_alice
        .self_signing
        .sign(&mut wrong_key, &alice, &by_alice.self_signing.public());
    let refused = upload(&setting, &alice, &bob, &of_bob.master.public(), wrong_key).await;
    assert!(matches!(reason(refused), Error::InvalidSignature(_)));
    assert_eq!(setting.position(), position);
}

#[tokio::test]
async fn signatures_on_something_else_are_refused() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let signer = cross_signer(&setting, &alice).await;
    let device = setting.device_with_keys(&alice, "PHONE").await;
    let mut other = device.device_keys();
    other["algorithms"] = serde_json::json!([]);
    signer
        .self_signing
        .sign(&mut other, &alice, &signer.self_signing.public());
    let refused = upload(&setting, &alice, &alice, "PHONE", other.clone()).await;
    assert!(matches!(reason(refused), Error::KeyMismatch));
    let refused = upload(&setting, &alice, &alice, "NOWHERE", other).await;
    assert!(matches!(reason(refused), Error::UnknownKey));
}
