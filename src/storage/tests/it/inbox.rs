//! The inbox: what is claimed, and in which order.

use std::time::Duration;

use ruma::{RoomId, TransactionId, room_id, server_name};
use storage::{
    Connection,
    inbox::{self, ClaimedBatch, NewBatch},
};

const TIME: Duration = Duration::from_mins(10);

async fn insert(db: &mut Connection, room_id: &RoomId, id: &str) -> bool {
    let batch = NewBatch {
        room_id,
        origin: server_name!("remote.test"),
        transaction_id: <&TransactionId>::from(id),
        pdus: id,
    };
    inbox::insert(db, batch).await.expect("stored")
}

async fn claim(db: &mut Connection) -> Vec<ClaimedBatch> {
    let mut claimed = inbox::claim(db, 10, TIME).await.expect("claimed");
    claimed.sort_by(|one, other| one.pdus.cmp(&other.pdus));
    claimed
}

fn ids(claimed: &[ClaimedBatch]) -> Vec<&str> {
    claimed.iter().map(|batch| &*batch.pdus).collect()
}

#[tokio::test]
async fn batches_of_a_room_are_claimed_one_after_another() {
    let test = testkit::database().await;
    let mut db = test.database.acquire().await.expect("a connection");
    let (one, other) = (room_id!("!one:remote.test"), room_id!("!other:remote.test"));
    for (room_id, id) in [(one, "1"), (one, "2"), (other, "3"), (one, "1")] {
        assert!(insert(&mut db, room_id, id).await);
    }
    let claimed = claim(&mut db).await;
    assert_eq!(ids(&claimed), ["1", "3"]);
    assert!(claim(&mut db).await.is_empty());
    claimed[0].delete(&mut db).await.expect("deleted");
    claimed[1].release(&mut db).await.expect("released");
    let claimed = claim(&mut db).await;
    assert_eq!(ids(&claimed), ["2", "3"]);
    claimed[0].failed(&mut db, TIME).await.expect("given back");
    claimed[1].delete(&mut db).await.expect("deleted");
    assert!(claim(&mut db).await.is_empty());
    let rooms = inbox::rooms(&mut db).await.expect("rooms");
    assert_eq!(rooms, [one]);
    claimed[0]
        .failed(&mut db, Duration::ZERO)
        .await
        .expect("given back");
    let claimed = claim(&mut db).await;
    assert_eq!(ids(&claimed), ["2"]);
    assert_eq!(claimed[0].failures, 2);
}

#[tokio::test]
async fn a_claim_that_another_process_has_taken_over_changes_nothing() {
    let test = testkit::database().await;
    let mut db = test.database.acquire().await.expect("a connection");
    let room_id = room_id!("!room:remote.test");
    insert(&mut db, room_id, "1").await;
    let expired = inbox::claim(&mut db, 10, Duration::ZERO).await;
    let expired = expired.expect("claimed").remove(0);
    let taken = claim(&mut db).await.remove(0);
    expired.delete(&mut db).await.expect("no failure");
    let renewed = expired.renew(&mut db, TIME).await;
    assert!(!renewed.expect("no failure"));
    assert!(inbox::has_room(&mut db, room_id).await.expect("rooms"));
    assert!(taken.renew(&mut db, TIME).await.expect("renewed"));
    taken.delete(&mut db).await.expect("deleted");
    assert!(!inbox::has_room(&mut db, room_id).await.expect("rooms"));
}
