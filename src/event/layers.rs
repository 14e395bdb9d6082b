//! How states are stored: as layers over each other, and with a digest that identifies equal states.
//!
//! A stored state is a chain of layers. A layer holds, for some state keys, the event that is
//! current or that there is none; what it does not hold is found in the layers below. Each layer is
//! more than twice as large as the one above it, because a new layer takes in those that are not:
//! a state of n keys has at most log n layers, and a key is written about log n times while it
//! keeps its value.

use std::{collections::BTreeSet, sync::Arc};

use types::{EventNid, SnapshotNid, StateKeyNid};

mod digest;
#[cfg(test)]
mod tests;

pub use digest::Digest;

/// A stored layer, as far as the layers above it must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The snapshot whose topmost layer it is.
    pub snapshot_nid: SnapshotNid,
    /// How many keys it holds.
    pub size: usize,
    /// Which keys it holds. Those of the lowest layer are never asked for and may be left out.
    pub keys: Arc<[StateKeyNid]>,
}

/// The layers of a stored state, the lowest first; a clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain(Vec<Layer>);

/// A layer to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLayer {
    /// The snapshot that it is laid over; none when it holds the whole state.
    pub parent: Option<SnapshotNid>,
    /// How many layers are below it.
    pub depth: usize,
    /// Its keys with the event of each; none where the state has no event but a layer below may.
    pub entries: Vec<(StateKeyNid, Option<EventNid>)>,
}

/// A complete state, as far as a new layer needs it.
pub trait StateSource {
    /// The event of a key.
    fn event(&self, key: StateKeyNid) -> Option<EventNid>;
    /// All keys with their events, each once.
    fn all(&self) -> Vec<(StateKeyNid, EventNid)>;
}

impl Chain {
    /// A chain of layers, the lowest first.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self(layers)
    }

    /// The layers, the lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.0
    }

    /// The snapshot that the chain is of.
    pub fn snapshot_nid(&self) -> Option<SnapshotNid> {
        self.0.last().map(|layer| layer.snapshot_nid)
    }

    /// Plans the layer that makes `state` out of the state of this chain, from which it differs in
    /// the `changed` keys only. The chain then is that of the new state, stored as `snapshot_nid`.
    pub fn push(
        &mut self,
        snapshot_nid: SnapshotNid,
        changed: impl IntoIterator<Item = StateKeyNid>,
        state: &impl StateSource,
    ) -> NewLayer {
        let mut keys: BTreeSet<StateKeyNid> = changed.into_iter().collect();
        while let Some(below) = self.0.last() {
            if below.size > 2 * keys.len() {
                break;
            }
            keys.extend(below.keys.iter().copied());
            self.0.pop();
        }
        let parent = self.snapshot_nid();
        let entries: Vec<_> = if parent.is_some() {
            let entry = |key| (key, state.event(key));
            keys.into_iter().map(entry).collect()
        } else {
            let all = state.all().into_iter();
            all.map(|(key, event)| (key, Some(event))).collect()
        };
        let depth = self.0.len();
        // The lowest layer is as large as all others together, and its keys are not needed.
        let kept = parent
            .is_some()
            .then(|| entries.iter().map(|(key, _)| *key));
        self.0.push(Layer {
            snapshot_nid,
            size: entries.len(),
            keys: kept.into_iter().flatten().collect(),
        });
        NewLayer {
            parent,
            depth,
            entries,
        }
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let keys: usize = self.0.iter().map(|layer| layer.keys.len()).sum();
        keys * size_of::<StateKeyNid>() + self.0.len() * size_of::<Layer>()
    }
}
