//! Resolving the states of branches.

use std::collections::HashSet;

use event::{
    ResolveError, State,
    resolve::{self, AuthEdges, Conflict, StateEntries},
};
use storage::event_edges;
use types::{EventNid, SnapshotNid};

use super::{Graph, resolutions::Changes, states::StateAt};
use crate::{Error, outliers::blocking};

/// How often more of the graph is read for one resolution.
const MAX_READS: usize = 16;

impl Graph<'_> {
    /// The state that some states resolve to.
    pub(super) async fn resolve(&mut self, mut states: Vec<StateAt>) -> Result<StateAt, Error> {
        states.sort_by_key(|state| state.snapshot_nid);
        states.dedup_by_key(|state| state.snapshot_nid);
        let entries: Vec<StateEntries> = states.iter().map(|state| state.entries.clone()).collect();
        let conflict = Conflict::between(&entries);
        let snapshots: Vec<SnapshotNid> = states.iter().map(|state| state.snapshot_nid).collect();
        let Some(first) = states.into_iter().next() else {
            return Err(
                storage::Error::Corrupt("an event has no state before it".to_owned()).into(),
            );
        };
        if conflict.is_empty() {
            return Ok(first);
        }
        let resolutions = &self.rooms.0.resolutions;
        let changes = if let Some(changes) = resolutions.find(&snapshots) {
            changes
        } else {
            let changes = self.resolve_conflict(conflict, &first).await?;
            resolutions.insert(snapshots, changes)
        };
        self.with_changes(&first, &changes).await
    }

    /// What a conflict resolves to, as changes of the first of the states; nothing where they do not
    /// differ.
    pub(super) async fn resolve_conflict(
        &mut self,
        conflict: Conflict,
        first: &StateAt,
    ) -> Result<Changes, Error> {
        if conflict.is_empty() {
            return Ok(Changes::new());
        }
        let started = self.rooms.0.clock.now_ms();
        let (full, edges) = self.full_conflicted_set(&conflict, first).await?;
        let wanted = resolve::auth_chains(full.iter().copied(), &edges).map_err(Error::Resolve)?;
        let events = self.read_events(wanted.into_iter().collect()).await?;
        let mut texts = HashSet::new();
        for nid in &full {
            let pdu = events.get(nid);
            texts.extend(
                pdu.and_then(|pdu| self.auth_texts(pdu))
                    .into_iter()
                    .flatten(),
            );
        }
        let texts: Vec<_> = texts.into_iter().collect();
        let state: State = self.texts_in(first, &texts).await?;
        let version = self.head.version.clone();
        let conflicted = conflict.keys().count();
        let resolved = blocking(move || {
            let input = resolve::Input {
                conflict: &conflict,
                full_conflicted_set: &full,
                events: &events,
                state: &state,
            };
            resolve::resolve(&version, input)
        });
        let resolved = resolved.await?.map_err(Error::Resolve)?;
        tracing::debug!(
            room.id = %self.head.state.room_id(),
            conflicted,
            duration_ms = self.rooms.0.clock.now_ms().saturating_sub(started),
            "The states of branches were resolved"
        );
        Ok(resolved.into_iter().collect())
    }

    /// The events that take part in a resolution, and the auth chains of them.
    async fn full_conflicted_set(
        &mut self,
        conflict: &Conflict,
        first: &StateAt,
    ) -> Result<(HashSet<EventNid>, AuthEdges), Error> {
        let mut edges = AuthEdges::new();
        self.read_edges(conflict.events().collect(), &mut edges)
            .await?;
        let keys: HashSet<_> = conflict.keys().map(|(key, _)| key).collect();
        let common = first.entries.iter().filter(|(key, _)| !keys.contains(key));
        let common: Vec<EventNid> = common.map(|(_, event)| *event).collect();
        let mut reads = 0;
        loop {
            let set = resolve::full_conflicted_set(&self.head.version, conflict, &common, &edges);
            match set {
                Ok(set) => return Ok((set, edges)),
                Err(ResolveError::Missing(missing)) if reads < MAX_READS => {
                    reads += 1;
                    self.read_edges(missing, &mut edges).await?;
                }
                Err(error) => return Err(Error::Resolve(error)),
            }
        }
    }

    /// Reads the auth chains of events, those that were added included.
    async fn read_edges(
        &mut self,
        events: Vec<EventNid>,
        edges: &mut AuthEdges,
    ) -> Result<(), Error> {
        let (mut open, mut stored) = (events, Vec::new());
        while let Some(nid) = open.pop() {
            if edges.contains_key(&nid) {
                continue;
            }
            match self.auth_edges.get(&nid) {
                Some(named) => {
                    edges.insert(nid, named.clone());
                    open.extend(named);
                }
                None => stored.push(nid),
            }
        }
        if !stored.is_empty() {
            edges.extend(event_edges::auth_edges(self.tx, &stored).await?);
        }
        Ok(())
    }
}
