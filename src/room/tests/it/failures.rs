//! The database fails: what was not committed is not there, and the room goes on.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use room::Profile;
use serde_json::{Map, json};
use tokio::task::JoinSet;
use types::ErrorKind;

use crate::support::{Server, alice, chain, error_kind, message, sender, transaction, user};

/// Makes the database refuse messages that contain the word.
async fn refuse(server: &Server, word: &str) {
    let statement = format!("ALTER TABLE events ADD CHECK (json NOT LIKE '%{word}%')");
    server.test.execute(&statement).await;
}

#[tokio::test]
async fn a_write_that_is_refused_leaves_the_room_as_it_was() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    refuse(&server, "poison").await;
    server
        .send_text(&room_id, &alice(), "before")
        .await
        .expect("sent");
    let refused = server.send_text(&room_id, &alice(), "poison").await;
    assert_eq!(error_kind(refused), ErrorKind::Internal);
    let again = server.send_text(&room_id, &alice(), "poison").await;
    assert_eq!(error_kind(again), ErrorKind::Internal, "it is tried again");
    server
        .send_text(&room_id, &alice(), "after")
        .await
        .expect("sent");
    assert_eq!(
        server.readable_texts(&room_id, &alice()).await,
        ["before", "after"]
    );
    assert_eq!(chain(&server, &room_id).await.len(), 6 + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_queued_behind_a_refused_write_succeed() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    refuse(&server, "poison").await;
    let mut sends = JoinSet::new();
    for number in 0..64 {
        let text = if number % 8 == 3 { "poison" } else { "fine" };
        let sender = transaction(&alice(), &number.to_string());
        let (rooms, room_id) = (server.rooms.clone(), room_id.clone());
        sends.spawn(async move {
            let sent = rooms.send(&room_id, &sender, message(text)).await;
            assert_eq!(sent.is_ok(), text == "fine", "{number}: {sent:?}");
        });
    }
    while let Some(sent) = sends.join_next().await {
        sent.expect("as it should be");
    }
    assert_eq!(chain(&server, &room_id).await.len(), 6 + 56);
}

#[tokio::test]
async fn unchanged_state_is_acknowledged_only_when_it_is_durable() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    refuse(&server, "poison").await;
    let alice = alice();
    let name = || json!({ "name": "poison" });
    let (first, second) = tokio::join!(
        server.set(&room_id, &alice, "m.room.name", name()),
        server.set(&room_id, &alice, "m.room.name", name()),
    );
    assert!(first.is_err() && second.is_err(), "{first:?} {second:?}");
    let name = || json!({ "name": "fine" });
    let (first, second) = tokio::join!(
        server.set(&room_id, &alice, "m.room.name", name()),
        server.set(&room_id, &alice, "m.room.name", name()),
    );
    assert_eq!(first.expect("set"), second.expect("set"));
    chain(&server, &room_id).await;
}

#[tokio::test]
async fn a_lost_database_makes_requests_fail_until_it_is_back() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    for round in 0..5 {
        server.test.disconnect().await;
        let mut failures = 0;
        let text = round.to_string();
        while let Err(error) = server.send_text(&room_id, &alice(), &text).await {
            assert_eq!(
                types::Fault::kind(&error),
                ErrorKind::Unavailable,
                "{error:?}"
            );
            failures += 1;
            assert!(failures < 10, "recovery needs no restart");
        }
    }
    let heard = server.readable_texts(&room_id, &alice()).await;
    assert_eq!(heard, ["0", "1", "2", "3", "4"]);
    chain(&server, &room_id).await;
}

/// Gives a future up after it was polled so often.
struct GivenUp<F>(Pin<Box<F>>, usize);

impl<F: Future> Future for GivenUp<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.0.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if self.1 == 0 {
            return Poll::Ready(None);
        }
        self.1 -= 1;
        Poll::Pending
    }
}

#[tokio::test]
async fn a_request_cancelled_at_any_point_can_be_retried() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let mut texts = Vec::new();
    for polls in 0..12 {
        for warm in [false, true] {
            let text = format!("{polls} {warm}");
            // A cold process has more to wait for.
            let server = if warm {
                &server
            } else {
                &server.another().await
            };
            let alice = alice();
            let first = GivenUp(Box::pin(server.send_text(&room_id, &alice, &text)), polls).await;
            let second = server
                .send_text(&room_id, &alice, &text)
                .await
                .expect("sent");
            if let Some(first) = first {
                assert_eq!(first.expect("sent"), second);
            }
            texts.push(text);
        }
    }
    assert_eq!(server.readable_texts(&room_id, &alice()).await, texts);
    chain(&server, &room_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rooms_that_do_not_fit_into_the_cache_can_be_written() {
    let server = Server::start_without_cache().await;
    let room_id = server.room(&[&alice()]).await;
    let mut sends = JoinSet::new();
    for number in 0..64 {
        let (rooms, room_id) = (server.rooms.clone(), room_id.clone());
        let sender = transaction(&alice(), &number.to_string());
        sends.spawn(async move {
            let sent = rooms.send(&room_id, &sender, message("hello")).await;
            sent.expect("sent");
        });
    }
    sends.join_all().await;
    assert_eq!(chain(&server, &room_id).await.len(), 6 + 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn membership_is_immediate_in_rooms_that_do_not_fit_into_the_cache() {
    let server = Server::start_without_cache().await;
    let room_id = server.room(&[&alice()]).await;
    let mut joins = JoinSet::new();
    for number in 0..32 {
        let (rooms, room_id) = (server.rooms.clone(), room_id.clone());
        joins.spawn(async move {
            let user_id = user(&number.to_string());
            let sender = sender(&user_id);
            let joined = rooms.join(&room_id, &sender, Profile::default(), Map::new());
            joined.await.expect("joined");
            rooms.joined_members(&room_id, &user_id).await.expect("in");
        });
    }
    joins.join_all().await;
}
