//! What is sent to which server, and that it arrives.

use ruma::{owned_server_name, owned_user_id};
use storage::{UserChange, destinations, relayed_events, stream::AccountData};
use testkit::{
    Writer,
    room::{TestRoom, commit_changes},
};

use tokio_util::sync::CancellationToken;
use types::StreamPosition;

use crate::support::{Answer, Process, Remote, alice, bob, followed, idle, joined, started};

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
    let marked = room.member(&db, &carol, &carol, "leave").await;
    let mut connection = db.database.acquire().await.expect("a connection");
    relayed_events::insert(&mut connection, &marked)
        .await
        .expect("a mark");
    room.message(&db, &alice(), "last").await;
    process.start();
    let mut pdus = Vec::new();
    while pdus.len() < 2 {
        pdus.extend(remote.next().await.pdus);
    }
    assert_eq!(pdus[0]["sender"], carol.as_str());
    assert_eq!(pdus[0]["content"]["membership"], "leave");
    assert_eq!(pdus[1]["content"]["body"], "last");
}

#[tokio::test]
async fn a_server_learns_that_its_invited_user_was_removed_where_a_batch_ends() {
    let mut remote = Remote::start().await;
    let mut process = Process::new(testkit::database().await, &remote);
    let db = process.db.clone();
    let other = joined(&db).await;
    let room = TestRoom::create(&db, &alice()).await;
    room.member(&db, &alice(), &bob(), "invite").await;
    // The first batch ends with the event, before what it changes.
    let begun = db.database.committed().get();
    let filler = (begun..499).map(|number| {
        UserChange::AccountData(AccountData {
            user_id: alice(),
            room_nid: None,
            event_type: format!("type.{number}"),
            content: "{}".to_owned(),
        })
    });
    commit_changes(&db, filler).await;
    let removed = room.member(&db, &alice(), &bob(), "leave").await;
    assert_eq!(db.database.committed(), StreamPosition(501));
    other.message(&db, &alice(), "last").await;
    process.start();
    let mut pdus = Vec::new();
    while pdus.len() < 2 {
        pdus.extend(remote.next().await.pdus);
    }
    assert_eq!(pdus[0]["content"]["membership"], "leave", "{removed}");
    assert_eq!(pdus[1]["content"]["body"], "last");
}

/// The statements of the follower for so many messages, one after the other, in a room without other
/// servers and in one with another, both of which it knows.
async fn statements(alone: usize, shared: usize) -> Vec<String> {
    let remote = Remote::start().await;
    let process = Process::with_lease(testkit::database().await, &remote);
    let db = process.db.clone();
    let room = joined(&db).await;
    let local = TestRoom::create(&db, &alice()).await;
    local.message(&db, &alice(), "known").await;
    room.message(&db, &alice(), "known").await;
    let stopping = CancellationToken::new();
    let following = testkit::queries_of(process.delivery.follow(stopping.clone()));
    let sending = async {
        followed(&db).await;
        for number in 0..alone {
            local.message(&db, &alice(), &number.to_string()).await;
        }
        for number in 0..shared {
            room.message(&db, &alice(), &number.to_string()).await;
            followed(&db).await;
        }
        stopping.cancel();
    };
    let ((followed, statements), ()) = tokio::join!(following, sending);
    followed.expect("followed");
    statements
}

#[tokio::test]
async fn a_message_in_a_room_with_other_servers_costs_three_statements() {
    let (one, two) = (
        Box::pin(statements(0, 1)).await,
        Box::pin(statements(0, 2)).await,
    );
    // Besides `BEGIN`: the queue, the cursor, and `COMMIT`.
    assert_eq!(two.len() - one.len(), 3, "{two:?}");
}

#[tokio::test]
async fn messages_in_a_room_without_other_servers_cost_no_statement() {
    let (none, many) = (
        Box::pin(statements(0, 1)).await,
        Box::pin(statements(20, 1)).await,
    );
    assert_eq!(many, none);
}
