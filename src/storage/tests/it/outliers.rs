//! Events that are known for the state or the auth chain only.

use storage::{StoredEvent, events};
use types::EventNid;

use crate::support::{Room, alice};

#[tokio::test]
async fn outliers_are_stored_once_and_found_by_their_ids_and_auth_chains() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    let created = test.committer.submit(room.next().await).await;
    created.durable().await.expect("the room");

    // A chain of three, of which each authorises the next.
    let mut outliers: Vec<StoredEvent> = Vec::new();
    for membership in ["join", "leave", "join"] {
        let write = room.member(&alice(), membership).await.room;
        let new = write.and_then(|mut room| room.events.pop());
        let before = outliers.last().map(|event| event.nid);
        outliers.push(StoredEvent {
            snapshot_nid: None,
            auth_nids: Vec::from_iter(before),
            ..new.expect("an event").event
        });
    }
    let mut db = test.database.acquire().await.expect("a connection");
    let stored = events::insert_outliers(&mut db, &outliers[..2]).await;
    assert_eq!(stored.expect("stored"), 2);
    let stored = events::insert_outliers(&mut db, &outliers).await;
    assert_eq!(stored.expect("stored"), 1);

    let ids: Vec<_> = outliers
        .iter()
        .map(|event| event.pdu.event_id().clone())
        .collect();
    let mut found = events::by_ids(&mut db, &ids).await.expect("events");
    found.sort_by_key(|event| event.nid);
    assert_eq!(found.len(), 3);
    for (found, stored) in found.iter().zip(&outliers) {
        assert_eq!(found.nid, stored.nid);
        assert_eq!(found.pdu.json(), stored.pdu.json());
        assert_eq!((found.position, found.history_order), (None, None));
        assert_eq!(found.snapshot_nid, None);
    }

    let chain = async |nid: EventNid, db: &mut storage::Connection| {
        let mut chain = events::auth_chain(db, &[nid]).await.expect("a chain");
        chain.sort_unstable();
        chain
    };
    let nids: Vec<EventNid> = outliers.iter().map(|event| event.nid).collect();
    assert_eq!(chain(nids[2], &mut db).await, nids[..2]);
    assert_eq!(chain(nids[0], &mut db).await, []);
}
