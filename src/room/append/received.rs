//! Adding events of other servers to a room's graph, where they may fork it.
//!
//! Spec: server-server, "Checks performed on receipt of a PDU", from the fourth check on. All that an
//! event names must be known, or the state before it; what is missing is fetched before the room is
//! locked.

mod claimed;
mod event_state;
mod extremities;
mod fill;
mod recheck;
mod redaction;
mod resolution;
mod resolutions;
mod servers;
mod states;
mod verdict;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use event::{Denied, Pdu, Verdict, redact, resolve::AuthEdges};
use live::EventCache;
use ruma::OwnedEventId;
use storage::{
    StateKeys, StoredEvent, Transaction, Tx,
    events::{self, Replaced},
    rooms::{self, HeadVersion, Parent, Placement, RoomHead, RoomWrite},
    snapshots::NewSnapshot,
    stream::StateEvent,
};
use types::{EventNid, SnapshotNid, StateKeyNid};

pub(crate) use self::{
    fill::{Passed, StateBefore},
    recheck::{StatesAfter, as_received, missing_before},
    resolutions::Resolutions,
};
use self::{redaction::Effect, states::StateAt};
use crate::{Error, Rooms, head::Head};

/// Numbers that one event may take: its own, and those of the states before and after it and of the
/// room, and of what it claims of the state before it.
const NIDS_PER_EVENT: usize = 5;

/// A state fetched from another server, by the numbers of its keys.
pub(crate) type FetchedState = Vec<(StateKeyNid, EventNid)>;

/// A verified event, with what else is known about its place.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) pdu: Arc<Pdu>,
    /// The states after those of its parents that are not known.
    pub(crate) fetched_states: Vec<FetchedState>,
    /// Whether the room's policy server recommends it, if there is one.
    pub(crate) is_recommended: bool,
    /// The client transaction that it comes from.
    pub(crate) transaction: Option<Transaction>,
}

impl Received {
    /// An event of which nothing else is known.
    pub(crate) fn of(pdu: Arc<Pdu>) -> Self {
        Self {
            pdu,
            fetched_states: Vec::new(),
            is_recommended: true,
            transaction: None,
        }
    }
}

/// What became of an event.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It is part of the graph, with this verdict; it may have been before.
    Stored(Verdict),
    /// The rules do not allow it, so that it was not stored.
    Denied(Option<Denied>),
    /// It was not stored, as the events before it are not known: it comes with those that follow it.
    Unconnected,
    /// It was not stored.
    Dropped(&'static str),
}

/// What becomes of an event that the rules do not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfDenied {
    /// It is part of the graph, without an effect: others may follow it.
    Store,
    /// Nothing: whoever sends it is told.
    Refuse,
}

/// Adds events to a locked room, and collects the rows to write.
pub(crate) struct Graph<'a> {
    rooms: &'a Rooms,
    tx: &'a mut Tx,
    head: Head,
    /// The events that are named, and those that were added.
    known: HashMap<OwnedEventId, StoredEvent>,
    /// The events of state that were added, and others that were read.
    pdus: HashMap<EventNid, Arc<Pdu>>,
    /// The redactions of the received events that came before them.
    pending_redactions: HashMap<OwnedEventId, Vec<StoredEvent>>,
    /// The events that were added, with those that authorise them.
    auth_edges: AuthEdges,
    states: HashMap<SnapshotNid, StateAt>,
    extremities: Vec<Extremity>,
    current: StateAt,
    depth: u64,
    events: Vec<rooms::NewEvent>,
    snapshots: Vec<NewSnapshot>,
    nids: std::vec::IntoIter<i64>,
}

/// An end of the graph, with the state after it.
#[derive(Clone, Debug)]
struct Extremity {
    nid: EventNid,
    snapshot_nid: SnapshotNid,
}

/// How many numbers must be allocated to add events.
pub(crate) fn nids_for(events: &[Received]) -> usize {
    let fetched: usize = events.iter().map(|event| event.fetched_states.len()).sum();
    NIDS_PER_EVENT * events.len() + fetched
}

impl<'a> Graph<'a> {
    /// Takes up the head of a locked room; `nids` holds as many numbers as [`nids_for`] the events.
    pub(crate) async fn new(
        rooms: &'a Rooms,
        tx: &'a mut Tx,
        head: &Head,
        received: &[Received],
        nids: Vec<i64>,
    ) -> Result<Self, Error> {
        let mut graph = Self {
            rooms,
            tx,
            head: head.clone(),
            known: HashMap::new(),
            pdus: HashMap::new(),
            pending_redactions: HashMap::new(),
            auth_edges: AuthEdges::new(),
            states: HashMap::new(),
            extremities: Vec::new(),
            current: StateAt::of_head(&head.state),
            depth: head.state.depth(),
            events: Vec::new(),
            snapshots: Vec::new(),
            nids: nids.into_iter(),
        };
        graph
            .states
            .insert(graph.current.snapshot_nid, graph.current.clone());
        graph.read_named(received).await?;
        graph.read_extremities().await?;
        Ok(graph)
    }

    /// Reads the events, those that they name, and what they redact, as far as they are known.
    async fn read_named(&mut self, received: &[Received]) -> Result<(), Error> {
        let mut named: HashSet<OwnedEventId> = HashSet::new();
        for Received { pdu, .. } in received {
            named.insert(pdu.event_id().clone());
            named.extend(pdu.prev_events().iter().cloned());
            named.extend(pdu.auth_events().iter().cloned());
            named.extend(redact::redaction_target(&self.head.version, pdu));
        }
        let named: Vec<OwnedEventId> = named.into_iter().collect();
        let found = events::by_ids(self.tx, &named).await?.into_iter();
        self.known = found
            .map(|event| (event.pdu.event_id().clone(), event))
            .collect();
        let received = received
            .iter()
            .map(|Received { pdu, .. }| pdu.event_id().clone());
        let received: Vec<OwnedEventId> = received.collect();
        let room_nid = self.head.room_nid;
        for (target, redaction) in events::pending_redactions(self.tx, room_nid, &received).await? {
            let of_target = self.pending_redactions.entry(target).or_default();
            of_target.push(redaction);
        }
        Ok(())
    }

    async fn read_extremities(&mut self) -> Result<(), Error> {
        let extremities = self.head.state.extremities().to_vec();
        let snapshots: HashMap<EventNid, SnapshotNid> = if let [(only, _)] = &extremities[..] {
            [(*only, self.current.snapshot_nid)].into()
        } else {
            let nids: Vec<EventNid> = extremities.iter().map(|(nid, _)| *nid).collect();
            let found = events::by_nids(self.tx, &nids).await?.into_iter();
            found
                .filter_map(|event| Some((event.nid, event.snapshot_nid?)))
                .collect()
        };
        let extremities = extremities.into_iter().filter_map(|(nid, _)| {
            Some(Extremity {
                nid,
                snapshot_nid: *snapshots.get(&nid)?,
            })
        });
        self.extremities = extremities.collect();
        Ok(())
    }

    fn cache(&self) -> &'a EventCache {
        self.rooms.0.live.event_cache()
    }

    fn state_keys(&self) -> &'a StateKeys {
        &self.rooms.0.state_keys
    }

    fn next_nid(&mut self) -> Result<i64, Error> {
        let nid = self.nids.next();
        Ok(nid.ok_or_else(|| {
            storage::Error::Corrupt("more events than ids were allocated for".to_owned())
        })?)
    }

    /// Adds an event that follows events of the graph.
    pub(crate) async fn add(
        &mut self,
        received: &Received,
        if_denied: IfDenied,
    ) -> Result<Outcome, Error> {
        let pdu = &received.pdu;
        let outlier = match self.known_outlier(pdu) {
            Ok(outlier) => outlier,
            Err(outcome) => return Ok(outcome),
        };
        let parents = self.parents(pdu);
        let is_complete = parents.iter().all(|parent| parent.nid.is_some());
        if parents.is_empty() {
            return Ok(Outcome::Dropped("It follows no event"));
        }
        if !is_complete && received.fetched_states.is_empty() {
            return Ok(Outcome::Unconnected);
        }
        let before = self
            .state_before(&parents, &received.fetched_states)
            .await?;
        let claimed = self.claimed_changes(pdu, &before).await?;
        let current = self.current.clone();
        let claimed_now = self.claimed_changes(pdu, &current).await?;
        let states = [before.unstored(&claimed), current.unstored(&claimed_now)];
        let verdict = match self.verdict(pdu, &states, outlier).await? {
            Ok((verdict, denied)) => {
                let verdict = match verdict {
                    Verdict::Accepted if !received.is_recommended => Verdict::SoftFailed,
                    verdict => verdict,
                };
                if verdict != Verdict::Accepted && if_denied == IfDenied::Refuse {
                    return Ok(Outcome::Denied(denied));
                }
                verdict
            }
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        let event = self.numbered(pdu, outlier, verdict)?;
        let before = if verdict == Verdict::Accepted && !claimed.is_empty() {
            self.with_changes(&before, &claimed).await?
        } else {
            before
        };
        self.insert(event, parents, &before, Placement::Timeline)
            .await?;
        if let Some(new) = self.events.last_mut() {
            new.event.transaction.clone_from(&received.transaction);
        }
        Ok(Outcome::Stored(verdict))
    }

    /// The number and the verdict of an event that is known as an outlier. Of one that is part of the
    /// graph, or of another room, what becomes of it.
    fn known_outlier(&self, pdu: &Pdu) -> Result<Option<(EventNid, Verdict)>, Outcome> {
        let Some(found) = self.known.get(pdu.event_id()) else {
            return Ok(None);
        };
        if found.room_nid != self.head.room_nid {
            return Err(Outcome::Dropped(
                "Its id is that of an event in another room",
            ));
        }
        if found.snapshot_nid.is_some() {
            return Err(Outcome::Stored(found.pdu.verdict()));
        }
        Ok(Some((found.nid, found.pdu.verdict())))
    }

    /// A judged event with its number, which it has if it is an outlier. An outlier is taken as it is
    /// known: a server may tell less of it than another.
    fn numbered(
        &mut self,
        pdu: &Pdu,
        outlier: Option<(EventNid, Verdict)>,
        verdict: Verdict,
    ) -> Result<StateEvent, Error> {
        let nid = match outlier {
            Some((nid, _)) => nid,
            None => EventNid(self.next_nid()?),
        };
        let known = self.known.get(pdu.event_id());
        let pdu = known.map_or(pdu, |known| &*known.pdu);
        let pdu = Arc::new(pdu.clone().with_verdict(verdict));
        Ok(StateEvent { nid, pdu })
    }

    /// The parents of an event. Outliers count as not known: the history has a gap there.
    fn parents(&self, pdu: &Pdu) -> Vec<Parent> {
        let mut seen = HashSet::new();
        let named = pdu.prev_events().iter().filter(|id| seen.insert(*id));
        let parents = named.map(|event_id| {
            let found = self.known.get(event_id).filter(|found| {
                found.room_nid == self.head.room_nid && found.snapshot_nid.is_some()
            });
            Parent {
                nid: found.map(|found| found.nid),
                event_id: event_id.clone(),
            }
        });
        parents.collect()
    }

    /// The state before an event: what the states after its parents resolve to.
    async fn state_before(
        &mut self,
        parents: &[Parent],
        fetched: &[FetchedState],
    ) -> Result<StateAt, Error> {
        let known = parents.iter().filter(|parent| parent.nid.is_some());
        let snapshots = known.filter_map(|parent| self.known.get(&parent.event_id)?.snapshot_nid);
        let snapshots: Vec<SnapshotNid> = snapshots.collect();
        let mut states = self.states(&snapshots).await?;
        for state in fetched {
            states.push(self.fetched_state(state).await?);
        }
        self.resolve(states).await
    }

    /// The state after a judged event, and what it replaces in it.
    async fn state_after(
        &mut self,
        event: &StateEvent,
        before: &StateAt,
    ) -> Result<(StateAt, Option<Replaced>), Error> {
        let (mut after, mut replaces) = (before.clone(), None);
        if event.pdu.verdict() != Verdict::Rejected
            && let Some(key) = self.key_of(&event.pdu).await?
        {
            if let Some(replaced) = before.entries.get(&key).copied() {
                let pdu = self.event(replaced).await?;
                replaces = Some(Replaced { nid: replaced, pdu });
            }
            self.pdus.insert(event.nid, event.pdu.clone());
            self.cache().insert(event);
            after = self.with_changes(before, &[(key, Some(event.nid))]).await?;
        }
        Ok((after, replaces))
    }

    /// Puts a judged event into the graph.
    async fn insert(
        &mut self,
        event: StateEvent,
        parents: Vec<Parent>,
        before: &StateAt,
        placement: Placement,
    ) -> Result<(), Error> {
        let redacted = self.redacted_before(&event.pdu).await?;
        let event = StateEvent {
            nid: event.nid,
            pdu: redacted
                .as_ref()
                .map_or(event.pdu, |redacted| redacted.left.clone()),
        };
        let (after, replaces) = self.state_after(&event, before).await?;
        let named = event.pdu.auth_events().iter();
        let auth_nids: Vec<EventNid> = named
            .filter_map(|id| Some(self.known.get(id)?.nid))
            .collect();
        self.auth_edges.insert(event.nid, auth_nids.clone());
        let Effect { redacts, awaits } = self.effect(&event.pdu, before).await?;
        let (redaction, original) = redacted
            .map(|redacted| (redacted.redaction, redacted.original))
            .unzip();
        let stored = StoredEvent {
            nid: event.nid,
            room_nid: self.head.room_nid,
            position: None,
            history_order: match placement {
                Placement::History(order) => Some(order),
                Placement::Timeline | Placement::Outlier => None,
            },
            pdu: event.pdu.clone(),
            snapshot_nid: Some(after.snapshot_nid),
            replaces,
            redacted_because: redaction,
            auth_nids,
            after_gap: rooms::is_gap(&parents),
            has_relations: false,
            transaction: None,
        };
        self.known
            .insert(event.pdu.event_id().clone(), stored.clone());
        let is_latest = placement == Placement::Timeline;
        let delta = if is_latest && event.pdu.verdict() == Verdict::Accepted {
            self.advance(&event, &parents, after.snapshot_nid).await?
        } else {
            Vec::new()
        };
        self.events.push(rooms::NewEvent {
            event: stored,
            placement,
            parents,
            may_be_missed: true,
            redacts,
            awaits,
            original,
            delta,
        });
        Ok(())
    }

    /// What is to be written; none if nothing was added.
    pub(crate) fn finish(self) -> Option<RoomWrite> {
        if self.events.is_empty() {
            return None;
        }
        let expected = self.head.state.head_version();
        let version = HeadVersion {
            revision: expected.revision + 1,
            extremities: self.extremities.iter().map(|end| end.nid).collect(),
        };
        Some(RoomWrite {
            room_nid: self.head.room_nid,
            expected,
            next: RoomHead {
                version,
                depth: i64::try_from(self.depth).unwrap_or(i64::MAX),
                snapshot_nid: self.current.snapshot_nid,
            },
            events: self.events,
            snapshots: self.snapshots,
            layers: self.current.layers,
            create: None,
            recheck: None,
            partial: None,
        })
    }
}
