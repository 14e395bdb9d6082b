//! Every one-time key is given out once, the oldest first, and then the fallback key.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use e2ee::Keys;
use ruma::OneTimeKeyAlgorithm;
use testkit::TestDatabase;
use tokio::task::JoinSet;

use crate::support::{Device, Setting, TIMEOUT, key_id, keys, setting};

/// The id of the key that a claim yields.
async fn claim(setting: &Setting, device: &Device) -> Option<String> {
    claim_by(&setting.keys, device).await
}

/// The same by a process.
async fn claim_by(process: &Keys, device: &Device) -> Option<String> {
    let algorithm = OneTimeKeyAlgorithm::SignedCurve25519;
    let devices = BTreeMap::from([(device.device_id.clone(), algorithm)]);
    let wanted = BTreeMap::from([(device.user_id.clone(), devices)]);
    let claimed = process.claim(wanted, TIMEOUT).await.expect("claimed");
    let keys = claimed
        .one_time_keys
        .get(&device.user_id)?
        .get(&device.device_id)?;
    assert_eq!(keys.len(), 1);
    keys.keys().next().map(|id| id.key_name().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_is_claimed_once_while_any_is_left() {
    let setting = Arc::new(setting().await);
    let alice = setting.user("alice").await;
    let device = Arc::new(setting.device_with_keys(&alice, "PHONE").await);
    let ids = (0..600).map(|number| format!("{number:04}"));
    setting
        .upload(&device, device.one_time_keys(ids))
        .await
        .expect("uploaded");
    let mut claimers = JoinSet::new();
    for claimer in 0..16 {
        let (setting, device) = (setting.clone(), device.clone());
        claimers.spawn(async move {
            let mut ids = Vec::new();
            for _ in (claimer..600).step_by(16) {
                ids.push(claim(&setting, &device).await.expect("a key is left"));
            }
            ids
        });
    }
    let ids: Vec<String> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(ids.len(), 600);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 600);
    assert_eq!(claim(&setting, &device).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_claim_each_key_exactly_once() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = Arc::new(setting.device_with_keys(&alice, "PHONE").await);
    let ids = (0..400).map(|number| format!("{number:04}"));
    setting
        .upload(&device, device.one_time_keys(ids))
        .await
        .expect("uploaded");
    let other = TestDatabase::open(setting.test.options.clone()).await;
    let there = keys(other.database, other.committer, &setting.clock);
    let mut claimers = JoinSet::new();
    for claimer in 0..16 {
        let process = [&setting.keys, &there][claimer % 2].clone();
        let device = Arc::clone(&device);
        claimers.spawn(async move {
            let mut ids = Vec::new();
            while let Some(id) = claim_by(&process, &device).await {
                ids.push(id);
            }
            ids
        });
    }
    let ids: Vec<String> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(ids.len(), 400);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 400);
    assert_eq!(claim(&setting, &device).await, None);
}

#[tokio::test]
async fn keys_are_claimed_in_the_order_of_their_upload() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device(&alice, "PHONE").await;
    for id in ["Z", "B", "A"] {
        let upload = device.one_time_keys([id.to_owned()]);
        setting.upload(&device, upload).await.expect("uploaded");
    }
    for id in ["Z", "B", "A"] {
        assert_eq!(claim(&setting, &device).await.as_deref(), Some(id));
    }
}

#[tokio::test]
async fn the_fallback_key_is_claimed_repeatedly_when_no_one_time_key_is_left() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device_with_key(&alice, "PHONE", "A").await;
    setting
        .upload(&device, device.fallback_key("F"))
        .await
        .expect("uploaded");
    let position = setting.position();
    for (id, announced) in [("A", 1), ("F", 2), ("F", 2)] {
        assert_eq!(claim(&setting, &device).await.as_deref(), Some(id));
        assert_eq!(setting.position(), position + announced);
    }
    let counts = setting.counts(&device).await;
    assert!(counts.unused_fallback.is_empty());
    assert_eq!(counts.one_time["signed_curve25519"], 0);
}

#[tokio::test]
async fn unknown_devices_are_missing_and_other_servers_are_failures() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let nowhere = Device::new(&alice, "NOWHERE");
    assert_eq!(claim(&setting, &nowhere).await, None);
    let algorithm = OneTimeKeyAlgorithm::SignedCurve25519;
    let devices = BTreeMap::from([(nowhere.device_id.clone(), algorithm)]);
    let remote = ruma::owned_user_id!("@carol:elsewhere.example");
    let claimed = setting
        .keys
        .claim(BTreeMap::from([(remote.clone(), devices)]), TIMEOUT)
        .await;
    let claimed = claimed.expect("claimed");
    assert!(claimed.one_time_keys.is_empty());
    assert!(claimed.failures.contains(remote.server_name()));
}

#[tokio::test]
async fn claimed_keys_are_as_they_were_uploaded() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let device = setting.device_with_key(&alice, "PHONE", "A").await;
    let algorithm = OneTimeKeyAlgorithm::SignedCurve25519;
    let devices = BTreeMap::from([(device.device_id.clone(), algorithm)]);
    let claimed = setting
        .keys
        .claim(BTreeMap::from([(alice.clone(), devices)]), TIMEOUT)
        .await;
    let claimed = claimed.expect("claimed");
    let key = &claimed.one_time_keys[&alice][&device.device_id][&key_id("A")];
    assert_eq!(crate::support::value(key), device.one_time_key("A"));
}
