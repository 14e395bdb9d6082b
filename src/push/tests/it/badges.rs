//! The number of unread notifications.

use serde_json::{Value, json};
use testkit::room::TestRoom;

use crate::support::{alice, bob, read, started};

#[tokio::test]
async fn what_is_read_lowers_the_number_down_to_zero() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    let other = TestRoom::create(db, &alice()).await;
    other.member(db, &bob(), &bob(), "join").await;
    let first = room.message(db, &alice(), "one").await;
    assert_eq!(gateway.next().await["counts"]["unread"], 1);
    let second = other.message(db, &alice(), "two").await;
    assert_eq!(gateway.next().await["counts"]["unread"], 2);
    for (room, event_id, unread) in [(&room, &first, 1), (&other, &second, 0)] {
        read(&process, room, &bob(), event_id).await;
        let told = gateway.next().await;
        assert_eq!(told["counts"], json!({ "unread": unread }));
        assert_eq!(told["event_id"], Value::Null);
        assert_eq!(told["devices"][0]["pushkey"], "key");
    }
}

#[tokio::test]
async fn an_answer_counts_as_reading() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    room.message(db, &alice(), "question").await;
    assert_eq!(gateway.next().await["counts"]["unread"], 1);
    room.message(db, &bob(), "answer").await;
    let told = gateway.next().await;
    assert_eq!(told["counts"], json!({ "unread": 0 }));
    // What changes nothing is not told.
    room.message(db, &bob(), "more").await;
    room.message(db, &alice(), "thanks").await;
    assert_eq!(gateway.next().await["content"]["body"], "thanks");
}

#[tokio::test]
async fn leaving_a_room_takes_its_notifications_along() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    room.message(db, &alice(), "one").await;
    assert_eq!(gateway.next().await["counts"]["unread"], 1);
    room.member(db, &alice(), &bob(), "leave").await;
    assert_eq!(gateway.next().await["counts"], json!({ "unread": 0 }));
}
