//! Followers against a real PostgreSQL.
#![expect(
    clippy::expect_used,
    reason = "what a test needs and does not get fails it"
)]

use ruma::owned_user_id;
use storage::{Change, UserChange, UserChanges, committer::WriteSet, stream::AccountData};
use testkit::TestDatabase;
use types::StreamPosition;
use worker::Follower;

/// Commits one change for each kind.
async fn commit(test: &TestDatabase, kinds: impl Iterator<Item = u32>) {
    let changes: UserChanges = kinds
        .map(|kind| {
            UserChange::AccountData(AccountData {
                user_id: owned_user_id!("@alice:test.localhost"),
                room_nid: None,
                event_type: format!("kind.{kind}"),
                content: "{}".to_owned(),
            })
        })
        .collect();
    let commit = test
        .committer
        .submit(WriteSet {
            room: None,
            changes,
        })
        .await;
    commit.durable().await.expect("committed");
}

async fn resume(test: &TestDatabase) -> Follower {
    Follower::resume(test.database.clone(), "test")
        .await
        .expect("a follower")
}

fn positions(changes: &[(StreamPosition, Change)]) -> Vec<i64> {
    changes.iter().map(|(position, _)| position.get()).collect()
}

#[tokio::test]
async fn what_is_not_done_is_handed_out_again_after_a_restart() {
    let test = testkit::database().await;
    commit(&test, 0..3).await;
    let mut follower = resume(&test).await;
    assert_eq!(
        positions(&follower.next().await.expect("changes")),
        [1, 2, 3]
    );
    drop(follower);
    let mut follower = resume(&test).await;
    assert_eq!(
        positions(&follower.next().await.expect("changes")),
        [1, 2, 3]
    );
    follower.done().await.expect("done");
    commit(&test, 3..4).await;
    drop(follower);
    let mut follower = resume(&test).await;
    assert_eq!(positions(&follower.next().await.expect("changes")), [4]);
}

#[tokio::test]
async fn follower_waits_for_later_commits() {
    let test = testkit::database().await;
    let mut follower = resume(&test).await;
    let (changes, ()) = tokio::join!(follower.next(), commit(&test, 0..1));
    assert_eq!(positions(&changes.expect("changes")), [1]);
}

#[tokio::test]
async fn a_long_stream_is_handed_out_in_stretches_without_a_gap() {
    let test = testkit::database().await;
    commit(&test, 0..1200).await;
    let mut follower = resume(&test).await;
    let mut seen = Vec::new();
    while seen.len() < 1200 {
        let changes = follower.next().await.expect("changes");
        assert!(changes.len() <= 500, "a stretch is bounded");
        seen.extend(positions(&changes));
        follower.done().await.expect("done");
    }
    assert_eq!(seen, (1..=1200).collect::<Vec<_>>());
}
