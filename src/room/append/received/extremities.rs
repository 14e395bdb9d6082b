//! The ends of the graph, and what the room's state is after all of them.

use std::collections::HashSet;

use storage::{
    StoredEvent, event_edges,
    rooms::Parent,
    stream::{StateChange, StateEvent},
};
use types::{EventNid, SnapshotNid};

use super::{Extremity, Graph, states::StateAt};
use crate::Error;

impl Graph<'_> {
    /// Makes an accepted event an end of the graph, unless it is known what follows it, instead of the
    /// ends that it follows; returns what this changes in the current state.
    pub(super) async fn advance(
        &mut self,
        event: &StateEvent,
        parents: &[Parent],
        after: SnapshotNid,
    ) -> Result<Vec<StateChange>, Error> {
        let room_nid = self.head.room_nid;
        let children = event_edges::with_accepted_children(
            self.tx,
            room_nid,
            std::slice::from_ref(event.pdu.event_id()),
        )
        .await?;
        let consumed = self.consumed(parents).await?;
        self.extremities.retain(|end| !consumed.contains(&end.nid));
        if children.is_empty() {
            let extremity = Extremity {
                nid: event.nid,
                snapshot_nid: after,
            };
            self.extremities.insert(0, extremity);
        }
        self.depth = self.depth.max(event.pdu.depth());
        let snapshots: Vec<SnapshotNid> = self
            .extremities
            .iter()
            .map(|end| end.snapshot_nid)
            .collect();
        let states = self.states(&snapshots).await?;
        let current = self.resolve(states).await?;
        let changes = self.changes(&current).await?;
        self.current = current;
        Ok(changes)
    }

    /// The events that are no ends of the graph any more when an event with these parents is: the
    /// parents, and what is before those of them that were refused.
    async fn consumed(&mut self, parents: &[Parent]) -> Result<HashSet<EventNid>, Error> {
        let nids = parents.iter().filter_map(|parent| parent.nid);
        let mut consumed: HashSet<EventNid> = nids.collect();
        let mut known = parents
            .iter()
            .filter_map(|parent| self.known.get(&parent.event_id));
        if known.all(StoredEvent::is_accepted) {
            return Ok(consumed);
        }
        let mut open: Vec<EventNid> = consumed.iter().copied().collect();
        let mut stored = Vec::new();
        while let Some(nid) = open.pop() {
            match self.events.iter().find(|new| new.event.nid == nid) {
                Some(new) if new.event.is_accepted() => {}
                Some(new) => {
                    let before = new.parents.iter().filter_map(|parent| parent.nid);
                    open.extend(before.filter(|nid| consumed.insert(*nid)));
                }
                None => stored.push(nid),
            }
        }
        consumed.extend(event_edges::ancestors_past_refused(self.tx, &stored).await?);
        Ok(consumed)
    }

    /// What turns the current state into another one.
    pub(super) async fn changes(&mut self, to: &StateAt) -> Result<Vec<StateChange>, Error> {
        let changed = self.current.diff(to);
        let nids = changed.iter().flat_map(|(_, from, to)| [*from, *to]);
        let events = self.read_events(nids.flatten().collect()).await?;
        let event = |nid: Option<EventNid>| {
            let nid = nid?;
            let pdu = events.get(&nid)?.clone();
            Some(StateEvent { nid, pdu })
        };
        let changes = changed.into_iter().map(|(key, from, to)| StateChange {
            key,
            from: event(from),
            to: event(to),
        });
        Ok(changes.collect())
    }
}
