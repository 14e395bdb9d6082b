//! Followers of the stream.

use std::time::Duration;

use ruma::owned_user_id;
use storage::{Change, ChangeKind, Error, UserChange, UserChanges, leases, stream::AccountData};
use testkit::{
    TestDatabase,
    room::{TestRoom, commit_changes},
};
use types::StreamPosition;
use worker::{Batch, Follower, FollowerBuilder, Start};

fn account_data(event_type: &str) -> UserChange {
    UserChange::AccountData(AccountData {
        user_id: owned_user_id!("@alice:test.localhost"),
        room_nid: None,
        event_type: event_type.to_owned(),
        content: "{}".to_owned(),
    })
}

/// Commits account data of a type of its own for each number.
async fn commit(test: &TestDatabase, numbers: impl Iterator<Item = u32>) {
    let changes = numbers.map(|number| account_data(&format!("type.{number}")));
    let committed = test.committer.commit_changes(changes.collect()).await;
    committed.expect("committed");
}

async fn build(test: &TestDatabase, builder: FollowerBuilder) -> Follower {
    builder
        .build(test.database.clone())
        .await
        .expect("a follower")
}

async fn resume(test: &TestDatabase) -> Follower {
    build(test, Follower::builder("test")).await
}

async fn next(follower: &mut Follower) -> Batch {
    follower.next().await.expect("a batch")
}

fn positions(batch: &Batch) -> Vec<i64> {
    let changes = batch.changes.iter();
    changes.map(|(position, _)| position.get()).collect()
}

#[tokio::test]
async fn an_unfinished_batch_is_returned_again_after_a_restart() {
    let test = testkit::database().await;
    commit(&test, 0..3).await;
    let mut follower = resume(&test).await;
    assert_eq!(positions(&next(&mut follower).await), [1, 2, 3]);
    drop(follower);
    let mut follower = resume(&test).await;
    let batch = next(&mut follower).await;
    assert_eq!(positions(&batch), [1, 2, 3]);
    follower.done(batch).await.expect("done");
    commit(&test, 3..4).await;
    drop(follower);
    let mut follower = resume(&test).await;
    assert_eq!(positions(&next(&mut follower).await), [4]);
}

#[tokio::test]
async fn a_follower_waits_for_later_commits() {
    let test = testkit::database().await;
    let mut follower = resume(&test).await;
    let (batch, ()) = tokio::join!(follower.next(), commit(&test, 0..1));
    assert_eq!(positions(&batch.expect("a batch")), [1]);
}

#[tokio::test]
async fn a_follower_with_a_deadline_waits_no_longer() {
    let test = testkit::database().await;
    let mut follower = build(&test, Follower::builder("test").exclusive()).await;
    let passed = Some(tokio::time::Instant::now());
    assert!(follower.next_until(passed).await.expect("none").is_none());
    commit(&test, 0..1).await;
    let batch = follower.next_until(passed).await.expect("a batch");
    assert_eq!(positions(&batch.expect("a batch")), [1]);
}

#[tokio::test]
async fn a_long_stream_is_returned_in_batches_without_a_gap() {
    let test = testkit::database().await;
    commit(&test, 0..1200).await;
    let mut follower = resume(&test).await;
    let mut seen = Vec::new();
    while seen.len() < 1200 {
        let batch = next(&mut follower).await;
        assert!(batch.changes.len() <= 500, "a batch is bounded");
        seen.extend(positions(&batch));
        follower.done(batch).await.expect("done");
    }
    assert_eq!(seen, (1..=1200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_new_follower_starts_at_the_given_position() {
    let test = testkit::database().await;
    commit(&test, 0..2).await;
    let from_now = Follower::builder("now").from(Start::Now);
    let mut follower = build(&test, from_now.clone()).await;
    commit(&test, 2..3).await;
    let batch = next(&mut follower).await;
    assert_eq!(positions(&batch), [3]);
    drop(follower);
    // It did not say that it is done: it goes on from where it began.
    let mut follower = build(&test, from_now).await;
    assert_eq!(positions(&next(&mut follower).await), [3]);
}

#[tokio::test]
async fn other_kinds_of_changes_are_skipped() {
    let test = testkit::database().await;
    let user_id = owned_user_id!("@alice:test.localhost");
    let changes = [account_data("type"), UserChange::DeviceList { user_id }];
    test.committer
        .commit_changes(changes.into_iter().collect())
        .await
        .expect("committed");
    let kinds = Follower::builder("lists").kinds(&[ChangeKind::DeviceList]);
    let mut follower = build(&test, kinds).await;
    let batch = next(&mut follower).await;
    assert!(matches!(
        &*batch.changes,
        [(StreamPosition(2), Change::DeviceList { .. })]
    ));
}

#[tokio::test]
async fn the_effect_of_a_batch_is_committed_with_the_cursor_or_not_at_all() {
    let test = testkit::database().await;
    commit(&test, 0..1).await;
    let (mut first, mut second) = (resume(&test).await, resume(&test).await);
    let (batch, same_batch) = (next(&mut first).await, next(&mut second).await);
    let effect = || UserChanges::from_iter([account_data("effect")]);
    let tx = test.database.begin().await.expect("a transaction");
    first.commit_with(tx, batch, effect()).await.expect("done");
    let tx = test.database.begin().await.expect("a transaction");
    let refused = second.commit_with(tx, same_batch, effect()).await;
    assert!(matches!(refused, Err(Error::LeaseLost { .. })));
    let mut db = test.database.acquire().await.expect("a connection");
    let position = storage::stream::position(&mut db)
        .await
        .expect("a position");
    assert_eq!(position, StreamPosition(2));
}

#[tokio::test]
async fn only_one_exclusive_follower_of_a_name_runs() {
    let test = testkit::database().await;
    let other = TestDatabase::open(test.options.clone()).await;
    commit(&test, 0..1).await;
    let exclusive = || Follower::builder("one").exclusive();
    let mut first = build(&test, exclusive()).await;
    let batch = next(&mut first).await;
    let mut db = other.database.acquire().await.expect("a connection");
    let holder = other.database.process();
    let taken = leases::acquire(&mut db, "follower one", holder, Duration::from_secs(1)).await;
    assert_eq!(taken.expect("an answer"), None);
    first.done(batch).await.expect("done");
    commit(&test, 1..2).await;
    // It has read what was committed so far.
    let other = TestDatabase::open(test.options.clone()).await;
    let mut second = build(&other, exclusive()).await;
    let (batch, released) = tokio::join!(second.next(), first.release());
    released.expect("released");
    // It goes on where the first one came to.
    assert_eq!(positions(&batch.expect("a batch")), [2]);
}

#[tokio::test]
async fn a_follower_that_lost_its_lease_writes_nothing() {
    let test = testkit::database().await;
    let other = TestDatabase::open(test.options.clone()).await;
    commit(&test, 0..1).await;
    let brief = Follower::builder("one")
        .exclusive()
        .lease_time(Duration::ZERO);
    let mut first = build(&test, brief).await;
    let mut here = test.database.acquire().await.expect("a connection");
    let mut there = other.database.acquire().await.expect("a connection");
    let (holder, other_holder) = (test.database.process(), other.database.process());
    let lease = leases::acquire(&mut here, "name", holder, Duration::ZERO).await;
    let lease = lease.expect("an answer").expect("a lease");
    let minute = Duration::from_mins(1);
    let taken = leases::acquire(&mut there, "name", other_holder, minute).await;
    taken.expect("an answer").expect("it ran out");
    let mut tx = test.database.begin().await.expect("a transaction");
    let refused = lease.check(&mut tx).await;
    assert!(matches!(refused, Err(Error::LeaseLost { .. })));
    drop(tx);
    let batch = next(&mut first).await;
    let taken = leases::acquire(&mut there, "follower one", other_holder, minute).await;
    taken.expect("an answer").expect("it ran out");
    let refused = first.done(batch).await;
    assert!(matches!(refused, Err(Error::LeaseLost { .. })));
    let position = storage::cursors::find(&mut there, "one").await;
    assert_eq!(position.expect("an answer"), Some(StreamPosition(0)));
}

/// Has the feed yield all that is committed.
async fn drain(test: &mut TestDatabase) {
    while test.feed.position() < test.database.committed() {
        test.feed.next().await.expect("the database");
    }
}

#[tokio::test]
async fn changes_are_taken_from_the_memory_of_the_feed() {
    let mut test = testkit::database().await;
    let mut follower = resume(&test).await;
    for number in 0..3 {
        commit(&test, std::iter::once(number)).await;
    }
    drain(&mut test).await;
    let (batch, statements) = testkit::queries_of(next(&mut follower)).await;
    assert_eq!(positions(&batch), [1, 2, 3]);
    assert!(statements.is_empty(), "{statements:?}");
    let (skipped, statements) = testkit::queries_of(follower.skip(batch)).await;
    skipped.expect("skipped");
    assert!(statements.is_empty(), "{statements:?}");
    // What comes from another process is in memory once the feed has read it.
    let other = TestDatabase::open(test.options.clone()).await;
    commit(&other, 3..4).await;
    test.database.latest_position().await.expect("a position");
    test.feed.next().await.expect("the database");
    let (batch, statements) = testkit::queries_of(next(&mut follower)).await;
    assert_eq!(positions(&batch), [4]);
    assert!(statements.is_empty(), "{statements:?}");
}

#[tokio::test]
async fn the_cursor_is_written_for_many_skipped_batches_together() {
    let mut test = testkit::database().await;
    let mut follower = resume(&test).await;
    for number in 0..3 {
        commit(&test, std::iter::once(number)).await;
        drain(&mut test).await;
        let batch = next(&mut follower).await;
        follower.skip(batch).await.expect("skipped");
    }
    // As after a kill: it was not written.
    let mut again = resume(&test).await;
    assert_eq!(positions(&next(&mut again).await), [1, 2, 3]);
    let (released, statements) = testkit::queries_of(follower.release()).await;
    released.expect("released");
    assert_eq!(statements.len(), 1, "{statements:?}");
    commit(&test, 3..4).await;
    drain(&mut test).await;
    let mut again = resume(&test).await;
    assert_eq!(positions(&next(&mut again).await), [4]);
}

#[tokio::test]
async fn the_cursor_is_written_after_many_positions_without_changes_of_the_kinds() {
    let mut test = testkit::database().await;
    let lists = || Follower::builder("lists").kinds(&[ChangeKind::DeviceList]);
    let mut follower = build(&test, lists()).await;
    for start in (0..11_000).step_by(1_000) {
        commit(&test, start..start + 1_000).await;
    }
    let user_id = owned_user_id!("@alice:test.localhost");
    let change = UserChanges::from_iter([UserChange::DeviceList { user_id }]);
    let committed = test.committer.commit_changes(change).await;
    committed.expect("committed");
    drain(&mut test).await;
    let batch = next(&mut follower).await;
    assert_eq!(positions(&batch), [11_001]);
    assert_eq!(batch.from(), StreamPosition(0));
    let mut db = test.database.acquire().await.expect("a connection");
    let saved = storage::cursors::find(&mut db, "lists").await;
    assert_eq!(saved.expect("an answer"), Some(StreamPosition(10_000)));
    follower.done(batch).await.expect("done");
    let saved = storage::cursors::find(&mut db, "lists").await;
    assert_eq!(saved.expect("an answer"), Some(StreamPosition(11_001)));
}

#[tokio::test]
async fn a_follower_that_is_far_behind_reads_the_tables_until_it_has_caught_up() {
    let mut test = testkit::database().await;
    let mut follower = resume(&test).await;
    // More than memory holds.
    let long = "x".repeat(1 << 20);
    for number in 0..12 {
        let UserChange::AccountData(data) = account_data(&format!("type.{number}")) else {
            panic!("account data");
        };
        let content = long.clone();
        let change = UserChange::AccountData(AccountData { content, ..data });
        let changes = UserChanges::from_iter([change]);
        let committed = test.committer.commit_changes(changes).await;
        committed.expect("committed");
    }
    drain(&mut test).await;
    let (batch, statements) = testkit::queries_of(next(&mut follower)).await;
    assert_eq!(positions(&batch), (1..=12).collect::<Vec<_>>());
    assert!(!statements.is_empty());
    follower.done(batch).await.expect("done");
    commit(&test, 12..13).await;
    drain(&mut test).await;
    let (batch, statements) = testkit::queries_of(next(&mut follower)).await;
    assert_eq!(positions(&batch), [13]);
    assert!(statements.is_empty(), "{statements:?}");
}

#[tokio::test]
async fn a_state_change_is_in_the_batch_of_its_event() {
    let test = testkit::database().await;
    let (alice, bob) = (
        owned_user_id!("@alice:test.localhost"),
        owned_user_id!("@bob:test.localhost"),
    );
    let (db, mut feed) = test.split();
    let room = TestRoom::create(&db, &alice).await;
    let begun = db.database.committed().get();
    let filler = (begun..499).map(|number| account_data(&format!("type.{number}")));
    commit_changes(&db, filler).await;
    room.member(&db, &alice, &bob, "invite").await;
    room.message(&db, &alice, "later").await;
    assert_eq!(db.database.committed(), StreamPosition(502));
    let kinds = [ChangeKind::Event, ChangeKind::State];
    let follower = async |name| {
        let follower = Follower::builder(name).kinds(&kinds);
        let built = follower.build(db.database.clone()).await;
        built.expect("a follower")
    };
    let is_whole = |batch: &Batch| {
        let [.., (_, Change::Event(event)), (_, Change::State(delta))] = &*batch.changes else {
            panic!("not an event and what it changes");
        };
        assert_eq!(event.event.position, Some(StreamPosition(500)));
        let invited = delta.changes.first().and_then(|change| change.to.as_ref());
        assert_eq!(invited.expect("an invite").nid, event.event.nid);
        assert_eq!(batch.until(), StreamPosition(501));
    };
    is_whole(&next(&mut follower("tables").await).await);
    while feed.position() < db.database.committed() {
        feed.next().await.expect("the database");
    }
    is_whole(&next(&mut follower("memory").await).await);
}
