//! Unread counts that are stored, and reads that users share.

use live::{PushEvaluator, ViewQuery};
use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use serde_json::{Value, json};
use storage::unread_counts::{self, RoomCounts};
use testkit::{
    queries_of,
    room::{TestRoom, commit_changes},
};

use crate::support::{Server, alice, bob, mute_for_bob, server};

/// More messages than a room is loaded with.
const MANY: u64 = 40;

/// A room of Alice's that Bob has joined, with many messages.
async fn room(server: &Server) -> TestRoom {
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    send_many(server, &room).await;
    room
}

async fn send_many(server: &Server, room: &TestRoom) {
    for number in 0..MANY {
        room.message(&server.db, &alice(), &number.to_string())
            .await;
    }
}

/// The notification count in an initial sync.
async fn count(server: &Server, user_id: &UserId, room: &TestRoom) -> u64 {
    let answer = server.sync(user_id, None).await;
    let joined = &answer["rooms"]["join"][room.room_id.as_str()];
    let counts = &joined["unread_notifications"];
    counts["notification_count"].as_u64().expect("a count")
}

/// Stores Bob's counts, and then as many more as a count from the beginning does not find.
async fn store_with(server: &Server, more: u64) {
    server.live.store_unread_counts().await.expect("stored");
    let mut tx = server.db.database.begin().await.expect("a transaction");
    let stored = unread_counts::of_user(&mut tx, &bob())
        .await
        .expect("counts");
    let counts: Vec<(OwnedUserId, RoomCounts)> = stored
        .into_iter()
        .map(|mut room| {
            room.threads[0].notifications += more;
            (bob(), room)
        })
        .collect();
    unread_counts::store(&mut tx, &counts)
        .await
        .expect("stored");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn counting_continues_after_a_restart_from_what_was_stored() {
    let server = server().await;
    let room = room(&server).await;
    assert_eq!(count(&server, &bob(), &room).await, MANY);
    store_with(&server, 100).await;
    send_many(&server, &room).await;
    let restarted = server.restarted().await;
    assert_eq!(count(&restarted, &bob(), &room).await, MANY + 100 + MANY);
}

#[tokio::test]
async fn events_redacted_after_the_stored_count_are_not_unread_after_a_restart() {
    let server = server().await;
    let room = room(&server).await;
    let event_id = room.message(&server.db, &alice(), "secret").await;
    assert_eq!(count(&server, &bob(), &room).await, MANY + 1);
    store_with(&server, 100).await;
    room.redact(&server.db, &alice(), &event_id).await;
    let restarted = server.restarted().await;
    assert_eq!(count(&restarted, &bob(), &room).await, MANY);
    send_many(&server, &room).await;
    let restarted = server.restarted().await;
    assert_eq!(count(&restarted, &bob(), &room).await, MANY + MANY);
}

#[tokio::test]
async fn a_redaction_of_a_later_event_keeps_the_stored_count() {
    let server = server().await;
    let room = room(&server).await;
    assert_eq!(count(&server, &bob(), &room).await, MANY);
    store_with(&server, 100).await;
    let event_id = room.message(&server.db, &alice(), "secret").await;
    room.redact(&server.db, &alice(), &event_id).await;
    send_many(&server, &room).await;
    let restarted = server.restarted().await;
    assert_eq!(count(&restarted, &bob(), &room).await, MANY + 100 + MANY);
}

#[tokio::test]
async fn receipts_and_settings_that_changed_since_end_the_stored_count() {
    let server = server().await;
    let room = room(&server).await;
    let read = room.message(&server.db, &alice(), "read").await;
    send_many(&server, &room).await;
    assert_eq!(count(&server, &bob(), &room).await, 2 * MANY + 1);
    store_with(&server, 100).await;
    let receipt = room.receipt(&server.db, &bob(), "m.read", "", &read).await;
    commit_changes(&server.db, [receipt]).await;
    let restarted = server.restarted().await;
    assert_eq!(count(&restarted, &bob(), &room).await, MANY);
    store_with(&restarted, 100).await;
    commit_changes(&server.db, [mute_for_bob(&room)]).await;
    let restarted = server.restarted().await;
    assert_eq!(count(&restarted, &bob(), &room).await, 0);
}

#[tokio::test]
async fn an_older_count_does_not_replace_a_newer_one() {
    let server = server().await;
    let room = room(&server).await;
    assert_eq!(count(&server, &bob(), &room).await, MANY);
    store_with(&server, 0).await;
    let mut db = server.db.database.acquire().await.expect("a connection");
    let old = unread_counts::of_user(&mut db, &bob())
        .await
        .expect("counts");
    send_many(&server, &room).await;
    assert_eq!(count(&server, &bob(), &room).await, 2 * MANY);
    store_with(&server, 0).await;
    let new = unread_counts::of_user(&mut db, &bob())
        .await
        .expect("counts");
    let older: Vec<_> = old.into_iter().map(|room| (bob(), room)).collect();
    unread_counts::store(&mut db, &older).await.expect("stored");
    let kept = unread_counts::of_user(&mut db, &bob())
        .await
        .expect("counts");
    assert_eq!(kept, new);
}

#[tokio::test]
async fn users_of_a_room_share_the_events_read_for_their_counts() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let users: Vec<OwnedUserId> = (0..20)
        .map(|n| format!("@user{n}:test.localhost").try_into().unwrap())
        .collect();
    for user_id in &users {
        room.member(&server.db, user_id, user_id, "join").await;
    }
    send_many(&server, &room).await;
    let restarted = server.restarted().await;
    let mut tasks = tokio::task::JoinSet::new();
    for user_id in users {
        let (sync, request) = (
            restarted.sync.clone(),
            crate::support::request(&user_id, None),
        );
        tasks.spawn(queries_of(async move {
            sync.v3(&request).await.expect("an answer")
        }));
    }
    let mut reads = 0;
    for (answer, queries) in tasks.join_all().await {
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let joined = &answer["rooms"]["join"][room.room_id.as_str()];
        assert_eq!(joined["unread_notifications"]["notification_count"], MANY);
        let is_read = |query: &&String| query.starts_with("SELECT w.room_nid AS");
        reads += queries.iter().filter(is_read).count();
    }
    // The second one may have needed more than the first.
    assert!((1..=2).contains(&reads), "{reads} reads");
}

#[tokio::test]
async fn badges_and_push_decisions_need_no_request() {
    let server = server().await;
    let (one, two) = (room(&server).await, room(&server).await);
    let mention =
        json!({ "msgtype": "m.text", "body": "you", "m.mentions": { "user_ids": [bob()] } });
    one.event(&server.db, &alice(), "m.room.message", mention)
        .await;
    two.message(&server.db, &bob(), "read so far").await;
    two.message(&server.db, &alice(), "unread").await;
    let restarted = server.restarted().await;
    let subscription = restarted.live.subscribe(&bob()).await.expect("a user");
    let query = ViewQuery {
        since: None,
        of: &|room| room.membership == MembershipState::Join,
    };
    let view = restarted
        .live
        .view(&subscription, &query)
        .await
        .expect("a view");
    let counts = subscription.count_unread(&view).await.expect("counts");
    let total = |room: &TestRoom| counts[&room.room_nid].total();
    assert_eq!(
        (total(&one).notifications, total(&one).highlights),
        (MANY + 1, 1)
    );
    assert_eq!((total(&two).notifications, total(&two).highlights), (1, 0));
    let decisions = |room: &TestRoom| {
        let room = &view.rooms[&room.room_nid];
        let member = view.member(room, &bob());
        let mut evaluator = PushEvaluator::new(&view.user, room, member.map(AsRef::as_ref));
        let last = room.timeline().rev().take(2);
        let last: Vec<_> = last
            .map(|event| format!("{:?}", evaluator.evaluate(event)))
            .collect();
        last
    };
    assert_eq!(decisions(&one), ["Highlight", "Notify"]);
    assert_eq!(decisions(&two), ["Notify", "Silent"]);
}
