//! Delayed events: when they are sent, by whom, and what cancels them.

use std::time::Duration;

use room::{DelayedDraft, Error, Sender};
use ruma::RoomId;
use serde_json::{Value, json};
use storage::{cursors, delayed_events};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use types::ErrorKind;

use crate::support::{Server, alice, bob, error_kind, message, raw, sender, transaction, user};

const STATE: &str = "org.example.call";

fn draft(text: &str, millis: u64) -> DelayedDraft {
    DelayedDraft {
        event_type: "m.room.message".into(),
        state_key: None,
        content: message(text).content,
        delay: Duration::from_millis(millis),
    }
}

fn state(state_key: &str, content: &Value, millis: u64) -> DelayedDraft {
    DelayedDraft {
        event_type: STATE.into(),
        state_key: Some(state_key.to_owned()),
        content: raw(content),
        delay: Duration::from_millis(millis),
    }
}

async fn delay(server: &Server, room_id: &RoomId, text: &str, millis: u64) -> String {
    let sender = transaction(&alice(), text);
    let scheduled = server.schedule(room_id, &sender, draft(text, millis));
    scheduled.await.expect("scheduled")
}

/// The delays of Alice's events that wait.
async fn waiting(server: &Server) -> Vec<i64> {
    let events = server.delayed_events(&alice()).await.expect("events");
    events.iter().map(|event| event.delay_ms).collect()
}

async fn texts(server: &Server, room_id: &RoomId) -> Vec<String> {
    server.catch_up().await;
    server.readable_texts(room_id, &alice()).await
}

#[tokio::test]
async fn events_are_sent_when_they_are_due_in_order() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    for (text, millis) in [("later", 900), ("first", 700), ("second", 800)] {
        delay(&server, &room_id, text, millis).await;
    }
    assert_eq!(waiting(&server).await, [700, 800, 900]);
    let pause = server.send_due_events().await.expect("sent");
    assert_eq!(pause, Duration::from_millis(700));
    assert!(texts(&server, &room_id).await.is_empty());

    server.clock.advance(850);
    let pause = server.send_due_events().await.expect("sent");
    assert_eq!(pause, Duration::from_millis(50));
    assert_eq!(texts(&server, &room_id).await, ["first", "second"]);
    assert_eq!(waiting(&server).await, [900]);

    // They survive a restart.
    let restarted = server.another().await;
    restarted.clock.advance(900);
    restarted.send_due_events().await.expect("sent");
    let all = ["first", "second", "later"];
    assert_eq!(texts(&restarted, &room_id).await, all);
    assert!(waiting(&restarted).await.is_empty());
}

#[tokio::test]
async fn a_repeated_transaction_schedules_once_even_after_the_end() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let first = delay(&server, &room_id, "once", 500).await;
    assert_eq!(delay(&server, &room_id, "once", 500).await, first);
    server.clock.advance(500);
    server.send_due_events().await.expect("sent");
    assert_eq!(delay(&server, &room_id, "once", 500).await, first);
    server.clock.advance(500);
    server.send_due_events().await.expect("sent");
    assert_eq!(texts(&server, &room_id).await, ["once"]);
    assert!(waiting(&server).await.is_empty());
}

#[tokio::test]
async fn of_several_processes_one_sends_each_event() {
    let here = Server::start().await;
    let there = here.another().await;
    let room_id = here.room(&[&alice()]).await;
    let expected: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for text in &expected {
        delay(&here, &room_id, text, 100).await;
    }
    for server in [&here, &there] {
        server.clock.advance(100);
    }
    let (one, other) = tokio::join!(here.send_due_events(), there.send_due_events());
    one.and(other).expect("sent");
    let mut sent = texts(&here, &room_id).await;
    sent.sort_by_key(|text| text.parse::<u32>().expect("a number"));
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn an_event_that_was_sent_before_a_crash_is_not_sent_again() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let content = json!({ "is": "over" });
    let call = server
        .schedule(&room_id, &sender(&alice()), state("", &content, 100))
        .await
        .expect("scheduled");
    let ids = [delay(&server, &room_id, "once", 100).await, call];
    {
        // A process that has claimed both, and its claim runs out.
        let mut db = server.test.database.acquire().await.expect("a connection");
        for delay_id in &ids {
            let claimed = delayed_events::claim(&mut db, delay_id, Duration::ZERO).await;
            assert!(claimed.expect("claimed").is_some());
        }
    }
    let own = |delay_id: &str| {
        Sender::user(&alice()).with_transaction(format!("delayed {delay_id}").into())
    };
    server
        .send(&room_id, &own(&ids[0]), message("once"))
        .await
        .expect("sent");
    server
        .set_state(&room_id, &own(&ids[1]), STATE.into(), "", raw(&content))
        .await
        .expect("set");
    server
        .set(&room_id, &alice(), STATE, json!({ "is": "new" }))
        .await
        .expect("set");
    server.clock.advance(100);
    server.send_due_events().await.expect("sent");
    assert_eq!(texts(&server, &room_id).await, ["once"]);
    let present = server.content(&room_id, &alice(), STATE, "").await;
    assert_eq!(present.expect("set"), json!({ "is": "new" }));
    assert!(waiting(&server).await.is_empty());
}

#[tokio::test]
async fn events_are_restarted_cancelled_and_sent_on_request() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let restarted = delay(&server, &room_id, "restarted", 1000).await;
    let cancelled = delay(&server, &room_id, "cancelled", 1000).await;
    let sent = delay(&server, &room_id, "sent", 5000).await;
    server.clock.advance(600);
    let restart = server.restart_delayed_event(&restarted).await;
    restart.expect("restarted");
    let cancel = server.cancel_delayed_event(&cancelled).await;
    cancel.expect("cancelled");
    server.send_delayed_event(&sent).await.expect("sent");
    server.clock.advance(600);
    server.send_due_events().await.expect("sent");
    assert_eq!(texts(&server, &room_id).await, ["sent"]);
    server.clock.advance(400);
    server.send_due_events().await.expect("sent");
    assert_eq!(texts(&server, &room_id).await, ["sent", "restarted"]);
    for id in [&*restarted, &cancelled, &sent, "unknown"] {
        for refused in [
            server.restart_delayed_event(id).await,
            server.cancel_delayed_event(id).await,
            server.send_delayed_event(id).await,
        ] {
            assert_eq!(error_kind(refused), ErrorKind::NotFound);
        }
    }
}

#[tokio::test]
async fn what_the_sender_may_not_send_any_more_is_given_up() {
    let server = Server::start().await;
    let room_id = server.room(&[&bob(), &alice()]).await;
    delay(&server, &room_id, "too late", 100).await;
    let asked_for = delay(&server, &room_id, "asked for", 5000).await;
    server
        .leave(&room_id, &sender(&alice()), None)
        .await
        .expect("left");
    server.clock.advance(100);
    server.send_due_events().await.expect("nothing failed");
    assert_eq!(waiting(&server).await, [5000]);
    let refused = server.send_delayed_event(&asked_for).await;
    assert_eq!(error_kind(refused), ErrorKind::Forbidden);
    assert!(waiting(&server).await.is_empty());
    server.catch_up().await;
    assert!(server.readable_texts(&room_id, &bob()).await.is_empty());
}

#[tokio::test]
async fn state_of_another_user_cancels_what_was_to_replace_it() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let levels = json!({ "users": { bob().as_str(): 50 }, "state_default": 50 });
    // Version 12: the creator's power is beyond numbers.
    server
        .set(&room_id, &alice(), "m.room.power_levels", levels)
        .await
        .expect("set");
    let set = async |by: &str, state_key: &str| {
        let content = json!({ "by": by });
        server
            .set_keyed(&room_id, &user(by), STATE, state_key, content)
            .await
            .expect("set");
    };
    set("bob", "old").await;
    for (state_key, millis) in [("old", 1000), ("own", 2000), ("taken", 3000)] {
        let event = state(state_key, &json!({}), millis);
        let scheduled = server.schedule(&room_id, &sender(&alice()), event).await;
        scheduled.expect("scheduled");
    }
    {
        // Everything since the room was made is looked at.
        let mut db = server.test.database.acquire().await.expect("a connection");
        let start = types::StreamPosition::START;
        let inserted = cursors::insert(&mut db, "delayed_events", start).await;
        inserted.expect("inserted");
    }
    set("alice", "own").await;
    set("bob", "taken").await;
    let mut tasks = JoinSet::new();
    let (rooms, stopping) = (server.rooms.clone(), CancellationToken::new());
    let stop = stopping.clone();
    tasks.spawn(async move { rooms.cancel_replaced_events(stop).await });
    while waiting(&server).await.len() > 2 {}
    stopping.cancel();
    for ended in tasks.join_all().await {
        ended.expect("followed");
    }
    assert_eq!(waiting(&server).await, [1000, 2000]);
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let max = config::Limits::default().max_event_delay;
    let schedule = async |by: &str, draft: DelayedDraft| {
        let sender = sender(&user(by));
        server.schedule(&room_id, &sender, draft).await
    };
    let longest = DelayedDraft {
        delay: max,
        ..draft("a", 1)
    };
    let longer = DelayedDraft {
        delay: max + Duration::from_millis(1),
        ..longest.clone()
    };
    schedule("alice", longest).await.expect("scheduled");
    let refused = schedule("alice", longer).await;
    assert!(matches!(refused, Err(Error::DelayTooLong(longest)) if longest == max));
    let stranger = schedule("bob", draft("a", 1)).await;
    assert_eq!(error_kind(stranger), ErrorKind::Forbidden);
    let large = schedule("alice", draft(&"x".repeat(65_536), 1)).await;
    assert_eq!(error_kind(large), ErrorKind::TooLarge);
    let long_key = schedule("alice", state(&"x".repeat(256), &json!({}), 1)).await;
    assert_eq!(error_kind(long_key), ErrorKind::TooLarge);
    let no_object = schedule("alice", state("", &json!([]), 1)).await;
    assert_eq!(error_kind(no_object), ErrorKind::BadJson);
    for _ in 1..config::Limits::default().delayed_events_per_user {
        schedule("alice", draft("a", 1)).await.expect("scheduled");
    }
    let refused = schedule("alice", draft("a", 1)).await;
    assert!(matches!(refused, Err(Error::UserLimit(_))));
}
