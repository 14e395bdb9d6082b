//! Events that are made searchable.

use serde_json::json;
use storage::{
    Connection,
    committer::WriteSet,
    cursors,
    rooms::{NewEvent, Placement},
    search::{
        self, EVENT_TYPES, FOLLOWER, SearchQuery, SearchableEvent, find, insert, set_language,
        take_backlog,
    },
};
use testkit::TestDatabase;
use types::{EventNid, HistoryOrder, RoomNid, StreamPosition};

use crate::support::{Room, alice, commit};

fn event(set: &mut WriteSet) -> &mut NewEvent {
    let room = set.room.as_mut().expect("a room");
    room.events.first_mut().expect("an event")
}

async fn message(room: &mut Room, text: &str) -> WriteSet {
    let content = json!({ "body": text });
    room.write(alice(), "m.room.message", None, content).await
}

/// The numbers of the events that are found.
async fn found(test: &TestDatabase, room_nid: RoomNid, term: &str) -> Vec<EventNid> {
    let query = SearchQuery {
        language: "simple",
        term,
        rooms: &[room_nid],
        event_types: &EVENT_TYPES,
        senders: None,
        by_rank: false,
        after: None,
        limit: 10,
    };
    let mut snapshot = test.database.snapshot().await.expect("a snapshot");
    let hits = find(&mut snapshot, &query).await.expect("found");
    hits.iter().map(|hit| hit.place.event_nid).collect()
}

async fn index_backlog(db: &mut Connection) -> usize {
    let events = take_backlog(db, 10).await.expect("taken");
    let searchable = events.iter().map(|event| SearchableEvent {
        event_nid: event.nid,
        room_nid: event.room_nid,
        text: search::searched_text(&event.pdu).expect("a text"),
    });
    let searchable: Vec<_> = searchable.collect();
    insert(db, "simple", &searchable).await.expect("inserted");
    searchable.len()
}

#[tokio::test]
async fn events_filled_into_the_history_wait_until_they_are_searchable() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    commit(&test, room.next().await).await;
    let mut set = message(&mut room, "filled\u{0} needle").await;
    event(&mut set).placement = Placement::History(HistoryOrder(-5));
    let filled = event(&mut set).event.nid;
    commit(&test, set).await;
    let mut set = message(&mut room, "sent needle").await;
    let sent = event(&mut set).event.nid;
    commit(&test, set).await;
    // What the stream has is found before it is indexed.
    assert_eq!(found(&test, room.nid(), "needle").await, [sent]);
    let mut db = test.database.acquire().await.expect("a connection");
    assert_eq!(index_backlog(&mut db).await, 1);
    assert_eq!(index_backlog(&mut db).await, 0);
    assert_eq!(found(&test, room.nid(), "filled").await, [filled]);
    assert_eq!(found(&test, room.nid(), "needle").await.len(), 2);
    assert!(found(&test, RoomNid(1), "needle").await.is_empty());
    search::remove(&mut db, &[filled]).await.expect("removed");
    assert_eq!(found(&test, room.nid(), "needle").await, [sent]);
}

#[tokio::test]
async fn another_language_begins_anew() {
    let test = testkit::database().await;
    let mut db = test.database.acquire().await.expect("a connection");
    let at = StreamPosition(7);
    for (language, is_kept) in [("simple", false), ("simple", true), ("german", false)] {
        cursors::insert(&mut db, FOLLOWER, at)
            .await
            .expect("inserted");
        set_language(&mut db, language).await.expect("set");
        let cursor = cursors::find(&mut db, FOLLOWER).await.expect("read");
        assert_eq!(cursor, is_kept.then_some(at), "{language}");
    }
}
