//! Redactions that come before what they redact.

use ruma::{OwnedEventId, owned_event_id};
use storage::{committer::WriteSet, events};
use testkit::TestDatabase;
use types::RoomNid;

use crate::support::{Room, commit};

fn target() -> OwnedEventId {
    owned_event_id!("$target")
}

/// The write set of the room's next event, which redacts what is not known.
async fn redaction(room: &mut Room) -> WriteSet {
    let mut set = room.next().await;
    let write = set.room.as_mut().expect("a room");
    write.events.first_mut().expect("an event").awaits = Some(target());
    set
}

async fn pending(test: &TestDatabase, room_nid: RoomNid) -> Vec<OwnedEventId> {
    let mut db = test.database.acquire().await.expect("a connection");
    let found = events::pending_redactions(&mut db, room_nid, &[target()]).await;
    let found = found.expect("redactions").into_iter();
    found
        .map(|(_, redaction)| redaction.pdu.event_id().clone())
        .collect()
}

#[tokio::test]
async fn of_one_event_the_first_redactions_are_kept() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    let mut other = Room::new(&test).await;
    for room in [&mut room, &mut other] {
        commit(&test, room.next().await).await;
    }
    commit(&test, redaction(&mut other).await).await;
    let mut sent = Vec::new();
    let mut sets = Vec::new();
    for _ in 0..25 {
        let set = redaction(&mut room).await;
        let write = set.room.as_ref().expect("a room");
        let event = write.events.first().expect("an event");
        sent.push(event.event.pdu.event_id().clone());
        sets.push(set);
    }
    let last = sets.pop().expect("a set");
    let mut commits = Vec::new();
    // Written together.
    for set in sets {
        commits.push(test.committer.submit(set).await);
    }
    for submitted in commits {
        submitted.durable().await.expect("committed");
    }
    commit(&test, last).await;
    assert_eq!(pending(&test, room.nid()).await, sent[..20]);
    assert_eq!(pending(&test, other.nid()).await.len(), 1);
}
