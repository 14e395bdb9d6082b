//! The states at points of the graph, as numbers.

use std::sync::Arc;

use event::{
    layers::{Digest, StateSource},
    resolve::{Conflict, StateEntries},
};
use live::RoomState;
use storage::snapshots::{self, Layers, NewSnapshot};
use types::{EventNid, SnapshotNid, StateKeyNid};

use super::{FetchedState, Graph};
use crate::Error;

/// A state that is stored or will be; a clone shares it.
#[derive(Clone, Debug)]
pub(super) struct StateAt {
    pub(super) snapshot_nid: SnapshotNid,
    pub(super) entries: StateEntries,
    /// The layers in which it is stored, if they were needed.
    pub(super) layers: Option<Layers>,
}

/// A key with its events in two states.
pub(super) type Difference = (StateKeyNid, Option<EventNid>, Option<EventNid>);

impl StateAt {
    /// The current state of a room.
    pub(super) fn of_head(state: &Arc<RoomState>) -> Self {
        Self {
            snapshot_nid: state.snapshot_nid().unwrap_or_default(),
            entries: state.entries().clone(),
            layers: state.layers().cloned(),
        }
    }

    /// The same state with other events for some keys, to judge an event by; it is not stored.
    pub(super) fn unstored(&self, changes: &[(StateKeyNid, Option<EventNid>)]) -> Self {
        if changes.is_empty() {
            return self.clone();
        }
        let mut entries = self.entries.clone();
        for (key, event) in changes {
            match event {
                Some(event) => entries.insert(*key, *event),
                None => entries.remove(key),
            };
        }
        Self {
            snapshot_nid: SnapshotNid::default(),
            entries,
            layers: None,
        }
    }

    /// Whether another state is the same stored one.
    pub(super) fn is_stored_as(&self, other: &Self) -> bool {
        self.snapshot_nid == other.snapshot_nid && self.snapshot_nid != SnapshotNid::default()
    }

    /// Where another state differs.
    pub(super) fn diff(&self, other: &Self) -> Vec<Difference> {
        let conflict = Conflict::between(&[self.entries.clone(), other.entries.clone()]);
        let differences = conflict.keys().filter_map(|(key, events)| match events {
            [from, to] => Some((key, *from, *to)),
            _ => None,
        });
        differences.collect()
    }
}

struct Source<'a>(&'a StateEntries);

impl StateSource for Source<'_> {
    fn event(&self, key: StateKeyNid) -> Option<EventNid> {
        self.0.get(&key).copied()
    }

    fn all(&self) -> Vec<(StateKeyNid, EventNid)> {
        self.0.iter().map(|(key, event)| (*key, *event)).collect()
    }
}

impl Graph<'_> {
    /// The states of snapshots, each once: one query for all that are not known.
    pub(super) async fn states(&mut self, wanted: &[SnapshotNid]) -> Result<Vec<StateAt>, Error> {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let missing = wanted.iter().filter(|nid| !self.states.contains_key(nid));
        let missing: Vec<SnapshotNid> = missing.copied().collect();
        if !missing.is_empty() {
            for (snapshot_nid, stored) in snapshots::read(self.tx, &missing).await? {
                let state = StateAt {
                    snapshot_nid,
                    entries: stored.state.into_iter().collect(),
                    layers: Some(Layers {
                        chain: stored.chain,
                        digest: stored.digest,
                    }),
                };
                self.states.insert(snapshot_nid, state);
            }
        }
        let states = wanted.iter().map(|nid| self.states.get(nid).cloned());
        let states: Option<Vec<StateAt>> = states.collect();
        let missing = || storage::Error::Corrupt("a snapshot of the room is missing".to_owned());
        Ok(states.ok_or_else(missing)?)
    }

    /// A state fetched from another server.
    pub(super) async fn fetched_state(&mut self, fetched: &FetchedState) -> Result<StateAt, Error> {
        let entries: StateEntries = fetched.iter().copied().collect();
        let fetched = StateAt {
            snapshot_nid: SnapshotNid::default(),
            entries,
            layers: None,
        };
        let base = self.current.clone();
        let changes = base.diff(&fetched).into_iter();
        let changes: Vec<_> = changes.map(|(key, _, to)| (key, to)).collect();
        self.with_changes(&base, &changes).await
    }

    /// A state with other events for some keys. It is the stored one that equals it, or a new one.
    pub(super) async fn with_changes(
        &mut self,
        base: &StateAt,
        changes: &[(StateKeyNid, Option<EventNid>)],
    ) -> Result<StateAt, Error> {
        let mut entries = base.entries.clone();
        let mut layers = self.layers(base).await?;
        let mut changed = Vec::new();
        for (key, event) in changes {
            let before = match event {
                Some(event) => entries.insert(*key, *event),
                None => entries.remove(key),
            };
            if before == *event {
                continue;
            }
            if let Some(before) = before {
                layers.digest.remove(*key, before);
            }
            if let Some(event) = event {
                layers.digest.insert(*key, *event);
            }
            changed.push(*key);
        }
        if changed.is_empty() {
            return Ok(base.clone());
        }
        if let Some(snapshot_nid) = self.equal_state(layers.digest).await? {
            let state = StateAt {
                snapshot_nid,
                entries,
                layers: None,
            };
            return Ok(self.states.entry(snapshot_nid).or_insert(state).clone());
        }
        let snapshot_nid = SnapshotNid(self.next_nid()?);
        let layer = layers.chain.push(snapshot_nid, changed, &Source(&entries));
        self.snapshots.push(NewSnapshot {
            nid: snapshot_nid,
            parent: layer.parent,
            depth: i16::try_from(layer.depth).unwrap_or(i16::MAX),
            entries: layer.entries,
            digest: layers.digest,
        });
        let state = StateAt {
            snapshot_nid,
            entries,
            layers: Some(layers),
        };
        self.states.insert(snapshot_nid, state.clone());
        Ok(state)
    }

    /// The snapshot of an equal state.
    async fn equal_state(&mut self, digest: Digest) -> Result<Option<SnapshotNid>, Error> {
        let mut new = self.snapshots.iter();
        if let Some(equal) = new.find(|new| new.digest == digest) {
            return Ok(Some(equal.nid));
        }
        Ok(snapshots::find_equal(self.tx, self.head.room_nid, digest).await?)
    }

    pub(super) async fn layers(&mut self, state: &StateAt) -> Result<Layers, Error> {
        if let Some(layers) = &state.layers {
            return Ok(layers.clone());
        }
        let layers = snapshots::read_layers(self.tx, state.snapshot_nid).await?;
        let missing = || storage::Error::Corrupt("a snapshot of the room is missing".to_owned());
        let layers = layers.ok_or_else(missing)?;
        if let Some(known) = self.states.get_mut(&state.snapshot_nid) {
            known.layers = Some(layers.clone());
        }
        Ok(layers)
    }
}
