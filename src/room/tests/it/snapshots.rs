//! The state after each event is kept, in layers that are few and small.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use storage::snapshots;
use types::EventNid;

use crate::support::{Server, alice};

/// Different state keys.
const KEYS: u64 = 60;
/// State events that are set, one after the other.
const SETS: u64 = 200;

/// A sequence that looks random and is always the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test]
async fn the_snapshot_of_each_event_is_the_state_after_it() {
    let mut server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let mut dice = Dice(12);
    for number in 0..SETS {
        let key = dice.roll(KEYS).to_string();
        server
            .set_keyed(
                &room_id,
                &alice(),
                "org.example.n",
                &key,
                json!({ "n": number }),
            )
            .await
            .expect("set");
        match dice.roll(20) {
            0 => {
                server
                    .say(&room_id, &alice(), &number.to_string())
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
    let (mut written, mut seen) = (0, BTreeSet::new());
    for event in server.stored(&room_id).await {
        if let Some(state_key) = event.pdu.state_key() {
            let place = (event.pdu.event_type().to_owned(), state_key.to_owned());
            state.insert(place, event.nid);
        }
        let found = snapshots::events(&mut db, event.snapshot_nid)
            .await
            .expect("the snapshot");
        let found: BTreeSet<_> = found.into_iter().collect();
        assert_eq!(found, state.values().copied().collect());
        let chain = snapshots::chain(&mut db, event.snapshot_nid)
            .await
            .expect("the chain");
        let bound = state.len().ilog2() as usize + 1;
        assert!(
            chain.len() <= bound,
            "{} layers of {}",
            chain.len(),
            state.len()
        );
        if seen.insert(event.snapshot_nid) {
            written += chain[0].1.len();
        }
    }
    assert!(seen.len() <= SETS as usize + 6, "messages share a snapshot");
    let most = (SETS as usize + 6) * (KEYS.ilog2() as usize + 1);
    assert!(written <= most, "{written} entries for {SETS} events");
}
