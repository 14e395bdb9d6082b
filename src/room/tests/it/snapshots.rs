//! The state after each event is kept, in layers that are few and small.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use storage::{
    StateKeys,
    snapshots::{self, NewState, StateNids},
};
use testkit::Dice;
use types::{EventNid, SnapshotNid, StateKeyNid};

use crate::support::{Server, alice};

/// Different state keys.
const KEYS: usize = 60;
/// State events that are set, one after the other.
const SETS: u64 = 200;

#[tokio::test]
async fn the_snapshot_of_each_event_is_the_state_after_it() {
    let mut server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let mut dice = Dice(12);
    for number in 0..SETS {
        let key = dice.roll(KEYS).to_string();
        let content = json!({ "n": number });
        server
            .set_keyed(&room_id, &alice(), "org.example.n", &key, content)
            .await
            .expect("set");
        match dice.roll(20) {
            0 => {
                server
                    .send_text(&room_id, &alice(), &number.to_string())
                    .await
                    .expect("sent");
            }
            // What is in memory must be built anew from what is stored.
            1 => server = server.another().await,
            _ => {}
        }
    }
    let mut db = server.test.database.acquire().await.expect("a connection");
    let mut state: BTreeMap<(String, String), EventNid> = BTreeMap::new();
    let keys = StateKeys::new(server.test.database.clone());
    let (mut written, mut seen) = (0, BTreeSet::new());
    for event in server.stored(&room_id).await {
        if let Some(state_key) = event.pdu.state_key() {
            let place = (event.pdu.event_type().to_owned(), state_key.to_owned());
            state.insert(place, event.nid);
        }
        let snapshot_nid = event.snapshot_nid.expect("a snapshot");
        let mut found = snapshots::read(&mut db, &[snapshot_nid])
            .await
            .expect("the snapshot");
        let found = found.remove(&snapshot_nid).expect("the snapshot");
        let numbers: BTreeSet<_> = found.state.values().copied().collect();
        assert_eq!(numbers, state.values().copied().collect());
        let layers = found.chain.layers();
        let bound = state.len().ilog2() as usize + 1;
        assert!(
            layers.len() <= bound,
            "{} layers of {}",
            layers.len(),
            state.len()
        );
        if seen.insert(snapshot_nid) {
            written += layers.last().expect("a layer").size;
        }
        // One key is found without the others.
        let (place, nid) = state.iter().next_back().expect("state");
        let key = keys.ids([place.clone()]).await.expect("a key")[place];
        let one = snapshots::read_keys(&mut db, snapshot_nid, &[key, StateKeyNid(0)]).await;
        assert_eq!(one.expect("a key"), BTreeMap::from([(key, *nid)]));
    }
    assert!(seen.len() <= SETS as usize + 6, "messages share a snapshot");
    let most = (SETS as usize + 6) * (KEYS.ilog2() as usize + 1);
    assert!(written <= most, "{written} entries for {SETS} events");
}

#[tokio::test]
async fn equal_states_share_a_snapshot_and_unreferenced_ones_are_collected() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let last = server.stored(&room_id).await.pop().expect("an event");
    let (room_nid, current) = (last.room_nid, last.snapshot_nid.expect("a snapshot"));
    let mut db = server.test.database.acquire().await.expect("a connection");
    let read = async |db: &mut _, nid: SnapshotNid| {
        let mut found = snapshots::read(db, &[nid]).await.expect("snapshots");
        found.remove(&nid)
    };
    let parent = read(&mut db, current).await.expect("the snapshot");
    let store = async |db: &mut _, nid: i64, state: &StateNids| {
        let new = NewState {
            room_nid,
            nid: SnapshotNid(nid),
            parent: Some(&parent),
            state,
        };
        snapshots::store(db, new).await.expect("stored")
    };
    assert_eq!(store(&mut db, -1, &parent.state).await, current);
    // One key vanishes, another one changes.
    let mut other = parent.state.clone();
    let (gone, event) = other.pop_first().expect("a key");
    let changed = *other.keys().next().expect("a key");
    other.insert(changed, event);
    assert_eq!(snapshots::diff(&parent.state, &other).count(), 2);
    let stored = store(&mut db, -2, &other).await;
    assert_eq!(store(&mut db, -3, &other).await, stored);
    assert_eq!(read(&mut db, stored).await.expect("stored").state, other);
    let found = snapshots::read_keys(&mut db, stored, &[gone, changed]).await;
    assert_eq!(found.expect("keys"), BTreeMap::from([(changed, event)]));
    // What was stored just now may be about to be referred to.
    let collect = async |db: &mut _| snapshots::collect_unreferenced(db, &[room_nid]).await;
    assert_eq!(collect(&mut db).await.expect("collected"), 0);
    testkit::age_snapshots(&server.test.database).await;
    assert_eq!(collect(&mut db).await.expect("collected"), 1);
    assert!(read(&mut db, stored).await.is_none());
    for event in server.stored(&room_id).await {
        let nid = event.snapshot_nid.expect("a snapshot");
        assert!(read(&mut db, nid).await.is_some(), "still referred to");
    }
}
