//! The keys in which states differ.

use std::collections::BTreeMap;

use imbl::{OrdMap, ordmap::DiffItem};
use types::{EventNid, StateKeyNid};

/// A state as numbers.
pub type StateEntries = OrdMap<StateKeyNid, EventNid>;

/// The keys in which several states differ, with the event of each state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflict {
    keys: BTreeMap<StateKeyNid, Vec<Option<EventNid>>>,
}

impl Conflict {
    /// Compares states; parts that they share are not visited.
    pub fn between(states: &[StateEntries]) -> Self {
        let Some((first, others)) = states.split_first() else {
            return Self::default();
        };
        let key = |item| match item {
            DiffItem::Add(key, _)
            | DiffItem::Remove(key, _)
            | DiffItem::Update { old: (key, _), .. } => *key,
        };
        let differing = others.iter().flat_map(|other| first.diff(other).map(key));
        Self::of(differing.map(|key| {
            let events = states.iter().map(|state| state.get(&key).copied());
            (key, events.collect())
        }))
    }

    /// A conflict of which each state's event is known for every key.
    pub fn of(keys: impl IntoIterator<Item = (StateKeyNid, Vec<Option<EventNid>>)>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
        }
    }

    /// Whether all states are the same.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys with the events that the states have there, in the order of the states.
    pub fn keys(&self) -> impl Iterator<Item = (StateKeyNid, &[Option<EventNid>])> {
        self.keys.iter().map(|(key, events)| (*key, &**events))
    }

    /// The conflicted events, some of them several times.
    pub fn events(&self) -> impl Iterator<Item = EventNid> {
        self.keys.values().flatten().flatten().copied()
    }

    /// How many states there are.
    pub(super) fn states(&self) -> usize {
        self.keys.values().next().map_or(0, Vec::len)
    }

    /// The conflicted events of one state.
    pub(super) fn events_of(&self, state: usize) -> impl Iterator<Item = EventNid> {
        let events = self.keys.values();
        events.filter_map(move |events| *events.get(state)?)
    }
}
