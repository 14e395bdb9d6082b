//! The feed yields every change once, in order, of this and other processes.

use ruma::OwnedDeviceId;
use storage::{Change, UserChange, UserChanges, feed::SubscriptionEvent, maintenance, stream};
use types::StreamPosition;

use crate::support::{account_data, alice};

#[tokio::test]
async fn the_feed_yields_commits_of_this_process_in_order() {
    let mut test = testkit::database().await;
    for number in 0..10 {
        let set = account_data(&alice(), &format!("org.example.{number}"), "{}");
        test.committer
            .submit(set)
            .await
            .durable()
            .await
            .expect("committed");
    }
    let mut position = StreamPosition(0);
    while position < StreamPosition(10) {
        let batch = test
            .feed
            .next()
            .await
            .expect("the database")
            .expect("a batch");
        for (at, change) in &batch.changes {
            assert_eq!(at.get(), position.get() + 1);
            assert!(matches!(change, Change::AccountData(_)));
            position = *at;
        }
        assert_eq!(batch.until, position);
    }
}

#[tokio::test]
async fn the_feed_yields_commits_of_other_processes() {
    let mut here = testkit::database().await;
    let there = testkit::TestDatabase::open(here.options.clone()).await;
    let (_, listen) = here.feed.connect_cluster();
    let mut there_feed = there.feed;
    let (publish, _) = there_feed.connect_cluster();
    let committer = there.committer.clone();
    let body = async {
        committer
            .submit(account_data(&alice(), "from.there", "{}"))
            .await
            .durable()
            .await
            .expect("committed");
        there_feed
            .next()
            .await
            .expect("the database")
            .expect("its own batch");
        let batch = here
            .feed
            .next()
            .await
            .expect("the database")
            .expect("a batch");
        assert_eq!(batch.until, StreamPosition(1));
        assert!(
            matches!(&batch.changes[..], [(_, Change::AccountData(data))] if data.event_type == "from.there")
        );
    };
    tokio::select! {
        () = body => {}
        () = publish => panic!("the notifier ended"),
        () = listen => panic!("the listener ended"),
    }
}

#[tokio::test]
async fn a_subscriber_that_is_too_slow_resyncs_and_goes_on() {
    let mut test = testkit::database().await;
    let mut changes = test.feed.subscribe();
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let mut commit = async |name: String, content: &str| {
        let set = account_data(&alice(), &name, content);
        let committed = test.committer.submit(set).await;
        committed.durable().await.expect("committed");
        test.feed.next().await.expect("the database");
    };
    commit("first".to_owned(), "{}").await;
    let first = changes.next().await.expect("a batch");
    assert!(matches!(first, SubscriptionEvent::Batch(batch) if batch.until == StreamPosition(1)));
    for number in 0..12 {
        commit(format!("long.{number}"), &long).await;
    }
    let missed = changes.next().await;
    assert!(matches!(missed, Some(SubscriptionEvent::Resync)));
    assert_eq!(changes.position(), StreamPosition(13));
    commit("last".to_owned(), "{}").await;
    let last = changes.next().await.expect("a batch");
    assert!(matches!(last, SubscriptionEvent::Batch(batch) if batch.until == StreamPosition(14)));
    drop(test);
    assert!(changes.next().await.is_none());
}

#[tokio::test]
async fn of_kinds_without_changes_nothing_is_read() {
    let mut here = testkit::database().await;
    let there = testkit::TestDatabase::open(here.options.clone()).await;
    let set = account_data(&alice(), "from.there", "{}");
    let committed = there.committer.submit(set).await;
    committed.durable().await.expect("committed");
    here.database.latest_position().await.expect("a position");
    let (batch, queries) = testkit::queries_of(here.feed.next()).await;
    let batch = batch.expect("the database").expect("a batch");
    assert!(matches!(&*batch.changes, [(_, Change::AccountData(_))]));
    // The position, which kinds there are, the account data, and the end of the transaction.
    assert_eq!(queries.len(), 4, "{queries:?}");
}

#[tokio::test]
async fn changes_of_key_counts_are_read_together_and_deleted_in_the_end() {
    let test = testkit::database().await;
    let counts = |device: &str| UserChange::KeyCounts {
        user_id: alice(),
        device_id: OwnedDeviceId::from(device),
    };
    let lists = UserChange::DeviceList { user_id: alice() };
    let changes = [counts("A"), counts("B \"1\""), lists, counts("C")];
    let committed = test
        .committer
        .commit_changes(UserChanges::from_iter(changes));
    committed.await.expect("committed");
    let mut db = test.database.acquire().await.expect("a connection");
    let mut read = async |from, to| {
        let (from, to) = (StreamPosition(from), StreamPosition(to));
        let changes = stream::read(&mut db, from, to).await.expect("changes");
        let devices = changes
            .into_iter()
            .filter_map(|(position, change)| match change {
                Change::KeyCounts { device_id, .. } => {
                    Some((position.get(), device_id.to_string()))
                }
                _ => None,
            });
        devices.collect::<Vec<_>>()
    };
    let device = |position, device: &str| (position, device.to_owned());
    let all = [device(2, "A"), device(2, "B \"1\""), device(4, "C")];
    assert_eq!(read(0, 4).await, all);
    // Who has read the first of two that belong together gets both with the second.
    assert_eq!(read(0, 1).await, []);
    assert_eq!(read(1, 3).await, all[..2]);
    test.execute(
        "UPDATE key_count_changes SET changed_at = now() - interval '25 hours' WHERE position = 2",
    )
    .await;
    let mut connection = test.database.acquire().await.expect("a connection");
    maintenance::delete_expired(&mut connection, 0)
        .await
        .expect("deleted");
    assert_eq!(read(0, 4).await, all[2..]);
}
