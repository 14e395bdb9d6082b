//! Events that fill a gap in a room's history: they are put below what follows them, and change
//! neither the current state nor the ends of the graph.

use std::collections::HashMap;

use event::resolve::StateEntries;
use ruma::OwnedEventId;
use storage::{
    events::{self, FreePlaces},
    rooms::{Placement, RoomHead, RoomWrite},
    snapshots::Layers,
};
use types::{EventNid, HistoryOrder, SnapshotNid};

use super::{FetchedState, Graph, Outcome, Received, states::StateAt};
use crate::Error;

const CREATE: &str = "m.room.create";

/// The state before an event of which not all parents are known.
#[derive(Clone, Debug)]
pub(crate) enum StateBefore {
    /// One fetched from another server.
    Fetched(FetchedState),
    /// The state before this event, which is known.
    As(EventNid),
}

/// Events that do not hold, with those that they name: what is before them is linked to what
/// follows them all the same.
pub(crate) type Passed = HashMap<OwnedEventId, Vec<OwnedEventId>>;

impl Graph<'_> {
    /// Adds an event at a place of the history. The state before it is given, or that after its
    /// parents.
    pub(crate) async fn fill(
        &mut self,
        received: &Received,
        order: HistoryOrder,
        given: Option<&StateBefore>,
    ) -> Result<Outcome, Error> {
        let pdu = &received.pdu;
        let outlier = match self.known_outlier(pdu) {
            Ok(outlier) => outlier,
            Err(outcome) => return Ok(outcome),
        };
        let parents = self.parents(pdu);
        let floor = parents.iter().filter_map(|parent| {
            let found = self.known.get(&parent.event_id);
            found.filter(|_| parent.nid.is_some())?.history_order
        });
        // Ids of the first room versions are no hashes: events may follow themselves.
        if floor.max().is_some_and(|floor| floor >= order) {
            return Ok(Outcome::Dropped("It stands before what it follows"));
        }
        let is_create = pdu.event_type() == CREATE && pdu.prev_events().is_empty();
        let before = match given {
            Some(StateBefore::Fetched(fetched)) => self.fetched_state(fetched).await?,
            Some(StateBefore::As(child)) => self.state_before_known(*child).await?,
            None if is_create => empty(),
            None if parents.is_empty() || parents.iter().any(|parent| parent.nid.is_none()) => {
                return Ok(Outcome::Dropped("The state before it is not known"));
            }
            None => self.state_before(&parents, &[]).await?,
        };
        let verdict = if is_create {
            // Checked when it became known as part of the state.
            outlier
                .map(|(_, verdict)| verdict)
                .ok_or("The room has another create event")
        } else {
            // What is long past is not judged by the current state.
            let states = [before.clone(), before.clone()];
            let judged = self.verdict(pdu, &states, outlier).await?;
            judged.map(|(verdict, _)| verdict)
        };
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        let event = self.numbered(pdu, outlier, verdict)?;
        self.insert(event, parents, &before, Placement::History(order))
            .await?;
        Ok(Outcome::Stored(verdict))
    }

    /// The state before an event of the history.
    pub(super) async fn state_before_known(&mut self, nid: EventNid) -> Result<StateAt, Error> {
        let missing = || storage::Error::Corrupt(format!("there is no event {nid:?}"));
        let found = events::by_nids(self.tx, &[nid]).await?.pop();
        let found = found.ok_or_else(missing)?;
        let snapshot = found.snapshot_nid.ok_or_else(missing)?;
        let states = self.states(&[snapshot]).await?;
        let after = states.into_iter().next().ok_or_else(missing)?;
        let Some(key) = self.key_of(&found.pdu).await? else {
            return Ok(after);
        };
        if after.entries.get(&key) != Some(&nid) {
            return Ok(after);
        }
        let replaced = found.replaces.map(|replaced| replaced.nid);
        self.with_changes(&after, &[(key, replaced)]).await
    }

    /// What is to be written of events that were filled in; none if there are none.
    pub(crate) fn finish_filling(self) -> Option<RoomWrite> {
        if self.events.is_empty() {
            return None;
        }
        let state = &self.head.state;
        let expected = state.head_version();
        Some(RoomWrite {
            room_nid: self.head.room_nid,
            next: RoomHead {
                version: expected.clone(),
                depth: i64::try_from(state.depth()).unwrap_or(i64::MAX),
                snapshot_nid: state.snapshot_nid().unwrap_or_default(),
            },
            expected,
            events: self.events,
            snapshots: self.snapshots,
            layers: None,
            create: None,
            recheck: None,
            partial: None,
        })
    }

    /// The places that events get, each right below what follows it. Parents come before their
    /// children; `children` has the places of known ones. What nothing known follows gets none, but
    /// for what follows through events that are passed over.
    pub(crate) async fn places(
        &mut self,
        received: &[Received],
        children: &[(OwnedEventId, HistoryOrder)],
        passed: &Passed,
    ) -> Result<HashMap<OwnedEventId, HistoryOrder>, Error> {
        let mut ceilings: HashMap<OwnedEventId, HistoryOrder> = HashMap::new();
        for (event_id, order) in children {
            lower(&mut ceilings, event_id, *order, passed);
        }
        let mut places = HashMap::new();
        let mut free: Option<FreePlaces> = None;
        for Received { pdu, .. } in received.iter().rev() {
            let Some(ceiling) = ceilings.get(pdu.event_id()).copied() else {
                continue;
            };
            let Some(order) = self.free_place(&mut free, ceiling).await? else {
                continue;
            };
            for parent in pdu.prev_events() {
                lower(&mut ceilings, parent, order, passed);
            }
            places.insert(pdu.event_id().clone(), order);
        }
        Ok(places)
    }

    /// Takes the latest free place below another; `free` is what is left of those found last.
    async fn free_place(
        &mut self,
        free: &mut Option<FreePlaces>,
        below: HistoryOrder,
    ) -> Result<Option<HistoryOrder>, Error> {
        // Places go down only: what is above those taken before is not looked at again.
        let highest = free.map_or(below.before(), |free| free.highest.min(below.before()));
        let is_free = free.is_some_and(|free| highest >= free.lowest);
        if !is_free {
            let above = HistoryOrder(highest.get().saturating_add(1));
            *free = events::free_places(self.tx, self.head.room_nid, above).await?;
        }
        let Some(left) = free else {
            return Ok(None);
        };
        let place = left.highest.min(highest);
        left.highest = place.before();
        Ok(Some(place))
    }
}

/// Notes that an event stands below a place, and what is before it if it is passed over.
fn lower(
    ceilings: &mut HashMap<OwnedEventId, HistoryOrder>,
    event_id: &OwnedEventId,
    order: HistoryOrder,
    passed: &Passed,
) {
    let mut open = vec![event_id];
    while let Some(event_id) = open.pop() {
        let ceiling = ceilings
            .entry(event_id.clone())
            .or_insert(HistoryOrder(i64::MAX));
        if order < *ceiling {
            *ceiling = order;
            open.extend(passed.get(event_id).into_iter().flatten());
        }
    }
}

/// The state before the create event.
fn empty() -> StateAt {
    StateAt {
        snapshot_nid: SnapshotNid::default(),
        entries: StateEntries::default(),
        layers: Some(Layers::default()),
    }
}
