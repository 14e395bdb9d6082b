//! Events that are taken in after their transaction was answered.

use std::sync::Arc;

use event::Pdu;
use ruma::{OwnedEventId, RoomId, TransactionId};
use storage::inbox::{self, NewBatch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use types::{ErrorKind, Fault as _};

use crate::{
    receiving::{MESSAGE, room, set},
    remote::{Remote, texts},
    support::{Server, alice},
};

/// Sends a transaction; returns the events that have arrived.
async fn send(
    server: &Server,
    remote: &Remote,
    id: &str,
    event: &Arc<Pdu>,
) -> Result<Vec<OwnedEventId>, room::Error> {
    let id = <&TransactionId>::from(id);
    let received = server.receive_transaction(&remote.name, id, texts([event]));
    let received = received.await?.into_iter();
    let arrived = received.filter_map(|(event_id, result)| result.is_ok().then_some(event_id));
    Ok(arrived.collect())
}

/// Works in the background until it is dropped.
fn work(server: &Server) -> JoinSet<()> {
    let (mut tasks, rooms) = (JoinSet::new(), server.rooms.clone());
    tasks.spawn(async move {
        let Ok(()) = rooms.work_off_inbox(CancellationToken::new()).await;
    });
    tasks
}

/// Waits until Alice reads these messages.
async fn until_read(server: &Server, room_id: &RoomId, texts: &[&str]) {
    while server.readable_texts(room_id, &alice()).await != texts {}
}

#[tokio::test]
async fn what_was_answered_is_taken_in_after_a_crash() {
    let (server, remote) = (Server::start_hurried().await, Remote::new());
    let (room_id, mut branch) = room(&server, &remote).await;
    let [hello, bye] = ["hello", "bye"].map(|text| set(&remote, &mut branch, MESSAGE, text));
    for (id, event) in [("1", &hello), ("2", &bye), ("1", &hello)] {
        let arrived = send(&server, &remote, id, event).await.expect("arrived");
        assert_eq!(arrived, [event.event_id().clone()]);
    }
    assert!(server.readable_texts(&room_id, &alice()).await.is_empty());
    // The process is gone; another one begins.
    let restarted = server.another().await;
    let _working = work(&restarted);
    until_read(&restarted, &room_id, &["hello", "bye"]).await;
    // Once more, to a process that does not know that it has answered.
    let again = send(&restarted, &remote, "1", &hello).await;
    assert_eq!(again.expect("arrived"), [hello.event_id().clone()]);
    assert_eq!(
        restarted.readable_texts(&room_id, &alice()).await,
        ["hello", "bye"]
    );
}

#[tokio::test]
async fn a_flood_for_one_room_is_refused_and_others_are_not_held_up() {
    let (server, remote) = (Server::start_hurried().await, Remote::new());
    let (flooded, mut branch) = room(&server, &remote).await;
    let [first, late] = ["first", "late"].map(|text| set(&remote, &mut branch, MESSAGE, text));
    let arrived = send(&server, &remote, "first", &first).await;
    arrived.expect("arrived");
    {
        let mut db = server.test.database.acquire().await.expect("a connection");
        for number in 1..200 {
            let id = format!("flood {number}");
            let batch = NewBatch {
                room_id: &flooded,
                origin: &remote.name,
                transaction_id: <&TransactionId>::from(id.as_str()),
                pdus: "[]",
            };
            assert!(inbox::insert(&mut db, batch).await.expect("stored"));
        }
    }
    let refused = send(&server, &remote, "late", &late).await;
    let error = refused.expect_err("too many wait");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let (other, mut branch) = room(&server, &remote).await;
    let message = set(&remote, &mut branch, MESSAGE, "other");
    let arrived = send(&server, &remote, "other", &message).await;
    arrived.expect("arrived");
    let _working = work(&server);
    until_read(&server, &other, &["other"]).await;
    until_read(&server, &flooded, &["first"]).await;
    // Sent again when there is room.
    while send(&server, &remote, "late", &late).await.is_err() {}
    until_read(&server, &flooded, &["first", "late"]).await;
}
