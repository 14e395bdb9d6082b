//! What is sent to which server, and that it arrives.

use ruma::{owned_server_name, owned_user_id};
use storage::{destinations, relayed_events};
use testkit::{
    Writer,
    room::{TestRoom, commit_changes},
};

use crate::support::{Answer, Process, Remote, alice, bob, idle, joined, started};

#[tokio::test]
async fn events_reach_the_servers_in_their_room_in_order() {
    let mut remote = Remote::start().await;
    let (process, room) = started(&remote).await;
    let db = &process.db;
    // Nobody of the other server is in this one.
    let other = TestRoom::create(db, &alice()).await;
    for body in ["one", "two", "three"] {
        other.message(db, &alice(), "unheard").await;
        room.message(db, &alice(), body).await;
    }
    assert_eq!(
        remote.messages_until("three").await,
        ["one", "two", "three"]
    );
    idle(db).await;
}

#[tokio::test]
async fn a_server_learns_that_its_last_user_was_removed_and_nothing_after() {
    let mut remote = Remote::start().await;
    let (process, room) = started(&remote).await;
    let db = &process.db;
    room.member(db, &alice(), &bob(), "leave").await;
    room.message(db, &alice(), "unheard").await;
    let other = joined(db).await;
    other.message(db, &alice(), "last").await;
    let mut pdus = Vec::new();
    while pdus.len() < 2 {
        pdus.extend(remote.next().await.pdus);
    }
    assert_eq!(pdus[0]["content"]["membership"], "leave");
    assert_eq!(pdus[1]["content"]["body"], "last");
    idle(db).await;
}

#[tokio::test]
async fn what_was_sent_before_a_server_joined_is_not_sent_to_it() {
    let mut remote = Remote::start().await;
    let (process, _) = started(&remote).await;
    let db = &process.db;
    let room = TestRoom::create(db, &alice()).await;
    room.message(db, &alice(), "before").await;
    room.member(db, &bob(), &bob(), "join").await;
    room.message(db, &alice(), "after").await;
    assert_eq!(remote.messages_until("after").await, ["after"]);
}

#[tokio::test]
async fn a_failed_transaction_is_repeated_as_it_was() {
    let mut remote = Remote::start().await;
    remote.answer(Answer::Fail);
    let (process, room) = started(&remote).await;
    room.message(&process.db, &alice(), "one").await;
    let first = remote.next().await;
    room.message(&process.db, &alice(), "two").await;
    assert_eq!(remote.next().await, first);
    remote.answer(Answer::Accept);
    let mut next = remote.next().await;
    while next == first {
        next = remote.next().await;
    }
    assert_ne!(next.id, first.id);
    assert_eq!(next.messages(), ["two"]);
    idle(&process.db).await;
}

#[tokio::test]
async fn a_server_that_was_away_for_long_gets_the_last_event_of_each_room() {
    let mut remote = Remote::start().await;
    remote.stop();
    let mut process = Process::new(testkit::database().await, &remote);
    let db = process.db.clone();
    let (room, other) = (joined(&db).await, joined(&db).await);
    process.follow();
    room.message(&db, &alice(), "first").await;
    let bodies: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    for body in &bodies {
        room.message(&db, &alice(), body).await;
    }
    for body in ["other", "last of the other"] {
        other.message(&db, &alice(), body).await;
    }
    queued(&db, 63).await;
    process.send();
    // Those of the transaction that was begun stay as they are.
    queued(&db, 52).await;
    remote.restart().await;
    let mut expected = vec!["first".to_owned()];
    expected.extend_from_slice(&bodies[..49]);
    expected.extend(["59", "last of the other"].map(str::to_owned));
    let last = expected.last().unwrap();
    assert_eq!(remote.messages_until(last).await, expected);
    idle(&db).await;
}

/// Waits until so many events wait for the other server.
async fn queued(db: &Writer, count: i64) {
    let remote = owned_server_name!("remote.localhost");
    loop {
        let mut connection = db.database.acquire().await.expect("a connection");
        let queued = destinations::queued_pdus(&mut connection, &remote).await;
        if queued.expect("a count") == count {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn receipts_reach_the_servers_in_the_room() {
    let mut remote = Remote::start().await;
    let (process, room) = started(&remote).await;
    let db = &process.db;
    let event_id = room.message(db, &alice(), "read").await;
    for receipt_type in ["m.read.private", "m.read"] {
        let receipt = room
            .receipt(db, &alice(), receipt_type, "main", &event_id)
            .await;
        commit_changes(db, [receipt]).await;
    }
    let mut edus = Vec::new();
    while edus.is_empty() {
        edus.extend(remote.next().await.edus);
    }
    let read =
        serde_json::json!({ "event_ids": [event_id], "data": { "ts": 7, "thread_id": "main" } });
    let content =
        serde_json::json!({ room.room_id.as_str(): { "m.read": { alice().as_str(): read } } });
    assert_eq!(
        edus,
        [serde_json::json!({ "edu_type": "m.receipt", "content": content })]
    );
    idle(db).await;
}

#[tokio::test]
async fn events_of_others_are_passed_on_if_they_are_marked() {
    let mut remote = Remote::start().await;
    let mut process = Process::new(testkit::database().await, &remote);
    let db = process.db.clone();
    let room = joined(&db).await;
    let carol = owned_user_id!("@carol:third.localhost");
    room.member(&db, &carol, &carol, "join").await;
    room.message(&db, &carol, "not marked").await;
    let marked = room.message(&db, &carol, "marked").await;
    let mut connection = db.database.acquire().await.expect("a connection");
    relayed_events::insert(&mut connection, &marked)
        .await
        .expect("a mark");
    room.message(&db, &alice(), "last").await;
    process.start();
    assert_eq!(remote.messages_until("last").await, ["marked", "last"]);
}
