use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// A state as numbers.
#[derive(Clone, Debug, Default)]
struct Map(BTreeMap<StateKeyNid, EventNid>);

impl StateSource for Map {
    fn event(&self, key: StateKeyNid) -> Option<EventNid> {
        self.0.get(&key).copied()
    }

    fn all(&self) -> Vec<(StateKeyNid, EventNid)> {
        self.0.iter().map(|(key, event)| (*key, *event)).collect()
    }
}

/// What was stored, and the state that it should be.
#[derive(Default)]
struct Store {
    layers: HashMap<SnapshotNid, NewLayer>,
    chain: Chain,
    state: Map,
    digest: Digest,
    written: usize,
    last: i64,
}

impl Store {
    /// Sets keys, or takes them away, in one step.
    fn apply(&mut self, changes: &[(i64, bool)]) {
        let mut changed = Vec::new();
        for (key, is_set) in changes {
            let key = StateKeyNid(*key);
            self.last += 1;
            let event = EventNid(self.last);
            let before = if *is_set {
                self.digest.insert(key, event);
                self.state.0.insert(key, event)
            } else {
                self.state.0.remove(&key)
            };
            if let Some(before) = before {
                self.digest.remove(key, before);
            }
            changed.push(key);
        }
        self.last += 1;
        let snapshot_nid = SnapshotNid(self.last);
        let layer = self.chain.push(snapshot_nid, changed, &self.state);
        assert_eq!(layer.depth + 1, self.chain.layers().len());
        self.written += layer.entries.len();
        self.layers.insert(snapshot_nid, layer);
    }

    /// Reads the state through the layers.
    fn read(&self) -> BTreeMap<StateKeyNid, EventNid> {
        let mut found: BTreeMap<StateKeyNid, Option<EventNid>> = BTreeMap::new();
        let mut next = self.chain.snapshot_nid();
        while let Some(layer) = next.map(|nid| &self.layers[&nid]) {
            for (key, event) in &layer.entries {
                found.entry(*key).or_insert(*event);
            }
            next = layer.parent;
        }
        let present = found.into_iter();
        present
            .filter_map(|(key, event)| Some((key, event?)))
            .collect()
    }
}

fn steps() -> impl Strategy<Value = Vec<Vec<(i64, bool)>>> {
    let change = (0..60_i64, prop::bool::weighted(0.8));
    prop::collection::vec(prop::collection::vec(change, 1..6), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn reading_all_layers_gives_the_state(steps in steps()) {
        let mut store = Store::default();
        for step in steps {
            store.apply(&step);
            prop_assert_eq!(store.read(), store.state.0.clone());
            prop_assert_eq!(store.digest, Digest::of(store.state.all()));
        }
    }

    #[test]
    fn each_layer_is_more_than_twice_as_large_as_the_one_above(steps in steps()) {
        let mut store = Store::default();
        for step in steps {
            store.apply(&step);
            let layers = store.chain.layers();
            for pair in layers.windows(2) {
                prop_assert!(pair[0].size > 2 * pair[1].size);
            }
            let largest = layers.first().map_or(1, |layer| layer.size.max(1));
            prop_assert!(layers.len() <= largest.ilog2() as usize + 1);
        }
    }

    #[test]
    fn the_digest_depends_on_the_state_and_not_on_the_order_of_changes(
        state in prop::collection::btree_map(0..50_i64, 1..1000_i64, 0..40),
        other in prop::collection::btree_map(0..50_i64, 1..1000_i64, 0..40),
        seed in any::<u64>(),
    ) {
        let pair = |(key, event): (&i64, &i64)| (StateKeyNid(*key), EventNid(*event));
        let forwards: Vec<_> = state.iter().map(pair).collect();
        let mut shuffled = forwards.clone();
        shuffled.sort_by_key(|(key, _)| (key.get() as u64).wrapping_mul(seed | 1));
        prop_assert_eq!(Digest::of(forwards.clone()), Digest::of(shuffled));
        let detour = other.iter().map(pair);
        let mut digest = Digest::of(forwards.into_iter().chain(detour.clone()));
        for (key, event) in detour {
            digest.remove(key, event);
        }
        prop_assert_eq!(digest, Digest::of(state.iter().map(pair)));
        prop_assert_eq!(Digest::from_bytes(&digest.to_bytes()), Some(digest));
        let equal = Digest::of(other.iter().map(pair)) == digest;
        prop_assert_eq!(equal, state == other);
    }
}

/// A pseudo-random sequence, the same in each run.
fn keys(count: i64) -> impl FnMut() -> i64 {
    let mut seed = 12_u64;
    move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as i64 % count
    }
}

#[test]
fn a_changed_key_is_written_about_as_often_as_the_state_has_layers() {
    for members in [10_i64, 100, 10_000] {
        let mut store = Store::default();
        for member in 0..members {
            store.apply(&[(member, true)]);
        }
        let joins = store.written;
        let mut key = keys(members);
        for _ in 0..members {
            store.apply(&[(key(), true)]);
        }
        let most = members as usize * (members.ilog2() as usize + 2);
        assert!(joins <= most, "{joins} of {most} for {members} joins");
        let churn = store.written - joins;
        assert!(churn <= most, "{churn} of {most} for {members} changes");
        // What is kept of the keys is less than the lowest layer has.
        assert!(store.chain.weight() <= 8 * members as usize + 1024);
    }
}

#[test]
fn keys_removed_from_the_whole_state_are_not_stored() {
    let mut store = Store::default();
    store.apply(&[(1, true)]);
    store.apply(&[(1, false)]);
    assert!(store.read().is_empty());
    assert_eq!(store.digest, Digest::default());
    let layer = &store.layers[&store.chain.snapshot_nid().unwrap()];
    assert_eq!((layer.parent, layer.entries.len()), (None, 0));
}
