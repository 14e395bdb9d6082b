//! An event's identity, place and state are independent of each other.

use std::sync::Arc;

use event::{RoomVersion, Verdict};
use ruma::owned_event_id;
use serde_json::json;
use storage::{
    Connection, StoredEvent,
    committer::WriteSet,
    event_edges,
    events::{self, Direction, RelationQuery, erase},
    rooms::{NewEvent, Parent, Placement},
    stream::Redacted,
};
use testkit::TestDatabase;
use types::{EventNid, HistoryOrder, RoomNid, StreamPosition};

use crate::support::{Room, alice};

/// The one event of a write set.
fn event(set: &mut WriteSet) -> &mut NewEvent {
    let room = set.room.as_mut().expect("a room");
    room.events.first_mut().expect("an event")
}

async fn commit(test: &TestDatabase, set: WriteSet) -> StreamPosition {
    let commit = test.committer.submit(set).await;
    commit.durable().await.expect("committed")
}

/// A room with a create event and two messages, by number.
async fn room(test: &TestDatabase) -> (Room, [EventNid; 3]) {
    let mut room = Room::new(test).await;
    let mut nids = [EventNid(0); 3];
    for nid in &mut nids {
        let mut set = room.next().await;
        *nid = event(&mut set).event.nid;
        commit(test, set).await;
    }
    (room, nids)
}

async fn history(db: &mut Connection, room_nid: RoomNid) -> Vec<EventNid> {
    let all = (HistoryOrder::MIN, HistoryOrder(i64::MAX));
    let found = events::history(db, room_nid, all.0, all.1, Direction::Forward, 100).await;
    let found = found.expect("events").into_iter();
    found.map(|event| event.nid).collect()
}

async fn find(db: &mut Connection, nid: EventNid) -> StoredEvent {
    let mut found = events::by_nids(db, &[nid]).await.expect("events");
    found.pop().expect("the event")
}

#[tokio::test]
async fn a_backfilled_event_precedes_its_child_and_has_no_stream_position() {
    let test = testkit::database().await;
    let (mut room, [create, first, second]) = room(&test).await;
    let mut db = test.database.acquire().await.expect("a connection");
    let before = storage::stream::position(&mut db)
        .await
        .expect("a position");
    let child = find(&mut db, second).await;
    let order = child.history_order.expect("in the history").before();
    let mut set = room.next().await;
    event(&mut set).placement = Placement::History(order);
    let filled = event(&mut set).event.nid;
    commit(&test, set).await;
    assert_eq!(
        history(&mut db, room.nid()).await,
        [create, first, filled, second]
    );
    let found = find(&mut db, filled).await;
    assert_eq!((found.position, found.history_order), (None, Some(order)));
    let after = storage::stream::position(&mut db)
        .await
        .expect("a position");
    assert_eq!(after, before, "it takes no position");
    // A page that ended before the gap goes on with what fills it.
    let token = order.before();
    let all = HistoryOrder(i64::MAX);
    let page = events::history(&mut db, room.nid(), token, all, Direction::Forward, 1).await;
    assert_eq!(page.expect("a page")[0].nid, filled);
}

#[tokio::test]
async fn an_outlier_is_known_and_not_part_of_the_history() {
    let test = testkit::database().await;
    let (mut room, nids) = room(&test).await;
    let mut set = room.next().await;
    event(&mut set).placement = Placement::Outlier;
    event(&mut set).event.snapshot_nid = None;
    let outlier = event(&mut set).event.nid;
    commit(&test, set).await;
    let mut db = test.database.acquire().await.expect("a connection");
    assert_eq!(history(&mut db, room.nid()).await, nids);
    let found = find(&mut db, outlier).await;
    assert_eq!((found.position, found.history_order), (None, None));
    assert_eq!(found.snapshot_nid, None);
}

#[tokio::test]
async fn a_rejected_event_is_known_as_rejected_when_it_is_read() {
    let test = testkit::database().await;
    let (mut room, nids) = room(&test).await;
    let mut set = room.next().await;
    let new = event(&mut set);
    new.placement = Placement::Outlier;
    new.event.pdu = Arc::new((*new.event.pdu).clone().with_verdict(Verdict::Rejected));
    let rejected = new.event.nid;
    commit(&test, set).await;
    let mut db = test.database.acquire().await.expect("a connection");
    let found = find(&mut db, rejected).await;
    assert_eq!(found.pdu.verdict(), Verdict::Rejected);
    // What the rules ask of an event that another one names.
    assert!(ruma::state_res::Event::rejected(&*found.pdu));
    assert_eq!(
        find(&mut db, nids[1]).await.pdu.verdict(),
        Verdict::Accepted
    );
}

#[tokio::test]
async fn an_unknown_parent_is_a_backward_extremity_until_it_is_stored() {
    let test = testkit::database().await;
    let (mut room, [_, first, second]) = room(&test).await;
    let mut missed = room.next().await;
    let missed_id = event(&mut missed).event.pdu.event_id().clone();
    let missed_nid = event(&mut missed).event.nid;
    event(&mut missed).may_be_missed = true;
    let mut db = test.database.acquire().await.expect("a connection");
    let known = event_edges::children(&mut db, &[first]).await;
    assert_eq!(known.expect("children"), [(first, second)]);
    // The child comes first.
    let mut other = Room::new(&test).await;
    let mut child = other.next().await;
    let unknown = owned_event_id!("$unknown");
    event(&mut child).parents = [missed_id.clone(), unknown.clone()]
        .map(|event_id| Parent {
            nid: None,
            event_id,
        })
        .into();
    let child_nid = event(&mut child).event.nid;
    commit(&test, child).await;
    let order = find(&mut db, child_nid).await.history_order;
    let order = order.expect("in the history");
    let gaps = async |db: &mut Connection, until| {
        let gaps = event_edges::gaps(db, other.nid(), until, 9).await;
        let gaps = gaps.expect("gaps").into_iter();
        gaps.map(|gap| {
            assert_eq!((gap.child, gap.order), (child_nid, order));
            gap.parent
        })
        .collect::<Vec<_>>()
    };
    let mut expected = [missed_id.clone(), unknown.clone()];
    expected.sort();
    assert_eq!(gaps(&mut db, order).await, expected);
    assert!(gaps(&mut db, order.before()).await.is_empty());
    let places = event_edges::places_of_children(&mut db, other.nid(), &expected).await;
    let mut places = places.expect("places");
    places.sort();
    assert_eq!(places, expected.clone().map(|parent| (parent, order)));
    commit(&test, missed).await;
    assert_eq!(gaps(&mut db, order).await, [unknown]);
    let children = event_edges::children(&mut db, &[missed_nid]).await;
    assert_eq!(children.expect("children"), [(missed_nid, child_nid)]);
}

#[tokio::test]
async fn a_foreign_event_with_a_nul_is_kept_as_it_is() {
    let test = testkit::database().await;
    let (mut room, _) = room(&test).await;
    let state_key = "a\0\\0".to_owned();
    let content = json!({ "text": "\0" });
    let mut set = room
        .write(alice(), "m.\0", Some(state_key.clone()), content)
        .await;
    let pdu = event(&mut set).event.pdu.clone();
    commit(&test, set).await;
    let mut db = test.database.acquire().await.expect("a connection");
    let room_nids = [room.nid()];
    let found = events::state_history(&mut db, &room_nids, "m.\0", &state_key).await;
    let found = found.expect("events");
    assert_eq!(found[0].pdu.json(), pdu.json());
    assert_eq!(found[0].pdu.state_key(), Some(&*state_key));
    let current = events::current_state_of(&mut db, &room_nids, &["m.\0"]).await;
    assert_eq!(current.expect("state").len(), 1);
    let keys = storage::StateKeys::new(test.database.clone());
    let key = ("m.\0".to_owned(), state_key);
    assert!(
        keys.ids([key.clone()])
            .await
            .expect("keys")
            .contains_key(&key)
    );
}

#[tokio::test]
async fn the_original_of_a_redacted_event_is_kept_sealed_without_relations() {
    let test = testkit::database().await;
    let (mut room, [_, target, _]) = room(&test).await;
    let mut db = test.database.acquire().await.expect("a connection");
    let target = find(&mut db, target).await.pdu.event_id().clone();
    let content = json!({
        "body": "secret",
        "m.relates_to": { "rel_type": "m.thread", "event_id": target },
    });
    let mut set = room.write(alice(), "m.room.message", None, content).await;
    let reply = event(&mut set).event.clone();
    commit(&test, set).await;
    let related = RelationQuery {
        room_nid: room.nid(),
        target: &target,
        rel_type: None,
        event_type: None,
        recurse: false,
    };
    let all = (HistoryOrder::MIN, HistoryOrder(i64::MAX));
    let count = async |db: &mut Connection| {
        let found = events::related(db, related, all.0, all.1, Direction::Forward, 9).await;
        found.expect("relations").len()
    };
    assert_eq!(count(&mut db).await, 1);
    assert_eq!(
        erase::original(&mut db, reply.nid).await.expect("none"),
        None
    );
    for _ in 0..2 {
        let mut set = room.next().await;
        let left = event::redact(&RoomVersion::default_version(), &reply.pdu).expect("redacted");
        event(&mut set).redacts = Some(Redacted {
            event_nid: reply.nid,
            history_order: None,
            pdu: Arc::new(left),
        });
        commit(&test, set).await;
        let found = find(&mut db, reply.nid).await;
        assert!(!found.pdu.json().contains("secret"));
        assert!(found.redacted_because.is_some());
        assert_eq!(count(&mut db).await, 0);
        let original = erase::original(&mut db, reply.nid).await.expect("kept");
        assert_eq!(original.as_deref(), Some(reply.pdu.json()));
    }
}
