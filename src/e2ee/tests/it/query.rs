//! Who sees which keys.

use std::{collections::BTreeMap, pin::pin};

use crate::support::{CrossSigner, TIMEOUT, keys, setting, value};
use e2ee::{KeyReplacement, QueriedKeys};
use futures::poll;
use storage::{UserChange, stream::AccountData};
use testkit::TestDatabase;

#[tokio::test]
async fn device_keys_come_with_the_name_of_the_device() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let bob = setting.user("bob").await;
    let phone = setting.device_with_keys(&alice, "PHONE").await;
    let laptop = setting.device_with_keys(&alice, "LAPTOP").await;
    setting.device(&alice, "KEYLESS").await;
    let all = setting
        .keys
        .query(&bob, BTreeMap::from([(alice.clone(), vec![])]), TIMEOUT)
        .await;
    let all = all.expect("keys");
    assert_eq!(all.device_keys[&alice].len(), 2);
    let mut expected = phone.device_keys();
    expected["unsigned"]["device_display_name"] = "A phone".into();
    assert_eq!(value(&all.device_keys[&alice][&phone.device_id]), expected);
    let one = BTreeMap::from([(alice.clone(), vec![laptop.device_id.clone()])]);
    let one = setting.keys.query(&bob, one, TIMEOUT).await.expect("keys");
    assert_eq!(
        one.device_keys[&alice].keys().collect::<Vec<_>>(),
        [&laptop.device_id]
    );
}

#[tokio::test]
async fn users_without_keys_are_empty_unknown_users_missing_and_remote_servers_fail() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let stranger = crate::support::user_id("stranger");
    let remote = ruma::owned_user_id!("@carol:elsewhere.example");
    let wanted = [&alice, &stranger, &remote].map(|user_id| (user_id.clone(), vec![]));
    let found = setting
        .keys
        .query(&alice, BTreeMap::from(wanted), TIMEOUT)
        .await
        .expect("keys");
    assert!(found.device_keys[&alice].is_empty());
    assert!(!found.device_keys.contains_key(&stranger));
    assert!(!found.device_keys.contains_key(&remote));
    assert_eq!(
        found.failures.iter().collect::<Vec<_>>(),
        [remote.server_name()]
    );
}

#[tokio::test]
async fn only_the_user_sees_the_user_signing_key() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let bob = setting.user("bob").await;
    let signer = CrossSigner::new(&alice);
    let uploaded = setting
        .keys
        .upload_cross_signing(&alice, signer.upload(), KeyReplacement::Forbidden)
        .await;
    uploaded.expect("uploaded");
    let seen_by = async |viewer| -> QueriedKeys {
        let wanted = BTreeMap::from([(alice.clone(), vec![])]);
        setting
            .keys
            .query(viewer, wanted, TIMEOUT)
            .await
            .expect("keys")
    };
    let by_bob = seen_by(&*bob).await;
    assert!(by_bob.master_keys.contains_key(&alice));
    assert!(by_bob.self_signing_keys.contains_key(&alice));
    assert!(by_bob.user_signing_keys.is_empty());
    assert!(
        seen_by(&*alice)
            .await
            .user_signing_keys
            .contains_key(&alice)
    );
}

#[tokio::test]
async fn cached_keys_include_the_changes_of_other_processes() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let bob = setting.user("bob").await;
    setting.device_with_keys(&alice, "PHONE").await;
    let other = TestDatabase::open(setting.test.options.clone()).await;
    let mut feed = other.feed;
    let changes = feed.subscribe();
    let keys = keys(other.database, other.committer, &setting.clock);
    let ask = async || {
        let wanted = BTreeMap::from([(alice.clone(), vec![])]);
        let (found, statements) = testkit::queries_of(keys.query(&bob, wanted, TIMEOUT)).await;
        (found.expect("keys").device_keys[&alice].len(), statements)
    };
    let asking = async {
        assert_eq!(ask().await.0, 1);
        let (devices, statements) = ask().await;
        assert_eq!(devices, 1);
        assert_eq!(statements, ["SELECT position FROM stream"]);
        setting.device_with_keys(&alice, "LAPTOP").await;
        assert_eq!(ask().await.0, 2);
        let signer = CrossSigner::new(&alice);
        let uploaded = setting
            .keys
            .upload_cross_signing(&alice, signer.upload(), KeyReplacement::Forbidden)
            .await;
        uploaded.expect("uploaded");
        let wanted = BTreeMap::from([(alice.clone(), vec![])]);
        let found = keys.query(&alice, wanted, TIMEOUT).await.expect("keys");
        assert!(found.user_signing_keys.contains_key(&alice));
    };
    let reading = async { while feed.next().await.expect("the database").is_some() {} };
    tokio::select! {
        biased;
        () = keys.follow(changes) => panic!("the feed ended"),
        () = reading => panic!("the feed ended"),
        () = asking => {}
    }
}

#[tokio::test]
async fn keys_in_memory_are_read_anew_when_changes_were_missed() {
    let setting = setting().await;
    let alice = setting.user("alice").await;
    let bob = setting.user("bob").await;
    setting.device_with_keys(&alice, "PHONE").await;
    let TestDatabase {
        database,
        mut feed,
        committer,
        ..
    } = TestDatabase::open(setting.test.options.clone()).await;
    let changes = feed.subscribe();
    let keys = keys(database.clone(), committer.clone(), &setting.clock);
    let mut following = pin!(keys.follow(changes));
    assert!(poll!(following.as_mut()).is_pending());
    let count = async || {
        let wanted = BTreeMap::from([(alice.clone(), vec![])]);
        let found = keys.query(&bob, wanted, TIMEOUT).await.expect("keys");
        found.device_keys[&alice].len()
    };
    assert_eq!(count().await, 1);
    setting.device_with_keys(&alice, "LAPTOP").await;
    // More than is kept for those who are behind.
    for number in 0..12 {
        let change = UserChange::AccountData(AccountData {
            user_id: bob.clone(),
            room_nid: None,
            event_type: format!("type.{number}"),
            content: "x".repeat(1 << 20),
        });
        let committed = committer.commit_changes([change].into_iter().collect());
        committed.await.expect("committed");
    }
    let latest = database.latest_position().await.expect("a position");
    while feed.position() < latest {
        feed.next().await.expect("the database");
    }
    assert!(poll!(following.as_mut()).is_pending());
    assert_eq!(count().await, 2);
}
