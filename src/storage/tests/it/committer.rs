//! Nothing acknowledged is lost, positions are gapless and in order, and a conflict affects no other room.

use storage::{CommitError, events, events::Direction, stream};
use tokio::task::JoinSet;
use types::{HistoryOrder, StreamPosition};

use crate::support::{Room, account_data, alice};

#[tokio::test]
async fn sets_submitted_together_take_consecutive_positions() {
    let test = testkit::database().await;
    let mut commits = Vec::new();
    for number in 0..50 {
        let set = account_data(&alice(), &format!("org.example.{number}"), "{}");
        commits.push(test.committer.submit(set).await);
    }
    let mut positions = Vec::new();
    for commit in commits {
        positions.push(commit.durable().await.expect("committed").get());
    }
    assert_eq!(positions, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_last_of_two_writes_to_one_row_in_a_batch_wins() {
    let test = testkit::database().await;
    let first = test
        .committer
        .submit(account_data(&alice(), "m.tag", r#"{"n":1}"#))
        .await;
    let second = test
        .committer
        .submit(account_data(&alice(), "m.tag", r#"{"n":2}"#))
        .await;
    first.durable().await.expect("committed");
    let last = second.durable().await.expect("committed");
    let mut db = test.database.acquire().await.expect("a connection");
    let data = storage::account_data::since(&mut db, &alice(), StreamPosition(0))
        .await
        .expect("data");
    assert_eq!(data.len(), 1);
    assert_eq!(data[0].0, last);
    assert_eq!(data[0].1.content, r#"{"n":2}"#);
}

#[tokio::test]
async fn a_room_is_written_once_for_each_revision() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    let created = test.committer.submit(room.next().await).await;
    let sent = test.committer.submit(room.next().await).await;
    created.durable().await.expect("created");
    sent.durable().await.expect("sent");
    // A second process that has not seen the message.
    room.rewind(1);
    let conflicts = test.committer.submit(room.next().await).await;
    let mut other = Room::new(&test).await;
    let unaffected = test.committer.submit(other.next().await).await;
    assert!(matches!(
        conflicts.durable().await,
        Err(CommitError::Conflict)
    ));
    unaffected
        .durable()
        .await
        .expect("another room of the same batch is unaffected");
    let mut db = test.database.acquire().await.expect("a connection");
    let found = events::history(
        &mut db,
        room.nid(),
        HistoryOrder::MIN,
        HistoryOrder(i64::MAX),
        Direction::Forward,
        10,
    )
    .await
    .expect("the timeline");
    assert_eq!(found.len(), 2, "nothing of the conflicts set was written");
    assert_eq!(
        stream::position(&mut db).await.expect("the stream").get(),
        5,
        "two rooms' create events with what they change, and a message"
    );
}

#[tokio::test]
async fn a_revision_that_another_process_reached_by_other_events_does_not_match() {
    let test = testkit::database().await;
    let mut here = Room::new(&test).await;
    let created = test.committer.submit(here.next().await).await;
    created.durable().await.expect("created");
    let mut there = here.clone();
    // What fails here leaves a head that is ahead by one; meanwhile another process writes one event.
    let _failed = here.next().await;
    let sent = test.committer.submit(there.next().await).await;
    sent.durable().await.expect("sent");
    let built_on_the_failed_one = test.committer.submit(here.next().await).await;
    assert!(matches!(
        built_on_the_failed_one.durable().await,
        Err(CommitError::Conflict)
    ));
}

#[tokio::test]
async fn a_refused_set_does_not_fail_the_rest_of_the_batch() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    let mut poisoned = room.next().await;
    if let Some(write) = &mut poisoned.room {
        // A room number that exists already.
        let mut first = Room::new(&test).await;
        test.committer
            .submit(first.next().await)
            .await
            .durable()
            .await
            .expect("committed");
        write.room_nid = first.nid();
    }
    let poisoned = test.committer.submit(poisoned).await;
    let fine = test
        .committer
        .submit(account_data(&alice(), "m.fine", "{}"))
        .await;
    assert!(matches!(
        poisoned.durable().await,
        Err(CommitError::Failed(_))
    ));
    fine.durable().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_with_64_writers_never_show_a_position_out_of_order() {
    let here = testkit::database().await;
    let there = testkit::TestDatabase::open(here.options.clone()).await;
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let committer = if writer % 2 == 0 {
            here.committer.clone()
        } else {
            there.committer.clone()
        };
        writers.spawn(async move {
            let mut positions = Vec::new();
            for number in 0..20 {
                let set = account_data(&alice(), &format!("{writer}.{number}"), "{}");
                let position = committer
                    .submit(set)
                    .await
                    .durable()
                    .await
                    .expect("committed");
                positions.push(position);
            }
            positions
        });
    }
    // A reader that, whenever the stream stands at P, must see every row up to P, and never a row
    // that it missed before.
    let database = here.database.clone();
    let mut seen = 0;
    while seen < 64 * 20 {
        let mut snapshot = database.snapshot().await.expect("a snapshot");
        let position = stream::position(&mut snapshot)
            .await
            .expect("the stream")
            .get();
        let rows = storage::account_data::since(&mut snapshot, &alice(), StreamPosition(seen))
            .await
            .expect("rows");
        let found: Vec<i64> = rows.iter().map(|(position, _)| position.get()).collect();
        assert_eq!(found, (seen + 1..=position).collect::<Vec<_>>());
        seen = position;
        snapshot.commit().await.expect("the end");
    }
    let mut positions: Vec<StreamPosition> =
        writers.join_all().await.into_iter().flatten().collect();
    positions.sort();
    let expected: Vec<_> = (1..=64 * 20).map(StreamPosition).collect();
    assert_eq!(positions, expected, "gapless and each position once");
}
