//! Judging events once more when the whole state before them is known.
//!
//! MSC3902, "Resynchronization of room state": from the joins on, each event gets the state before it anew, from
//! what is before it, and the verdict that follows from it. The ends of the graph and the current state
//! follow from those.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use event::{Pdu, Verdict};
use ruma::{OwnedEventId, OwnedUserId, events::room::member::MembershipState};
use storage::{
    StoredEvent,
    partial_states::StatedServers,
    rooms::{HeadVersion, Recheck, RecheckedEvent, RoomHead, RoomWrite},
    stream::StateEvent,
};
use types::{EventNid, HistoryOrder, SnapshotNid};

use super::{Extremity, FetchedState, Graph, Received, servers::RoomServers, states::StateAt};
use crate::Error;

/// The states after events that are not part of the history, as other servers tell them.
pub(crate) type StatesAfter = HashMap<OwnedEventId, FetchedState>;

/// What was found out so far.
#[derive(Debug, Default)]
pub(crate) struct Rechecks {
    /// Where in the history it began.
    first: Option<HistoryOrder>,
    events: Vec<RecheckedEvent>,
    ends: Vec<Extremity>,
    /// The events that accepted ones follow.
    followed: HashSet<EventNid>,
    depth: u64,
    servers: RoomServers,
}

impl Rechecks {
    /// Notes what an event is found to be, and that it ends the graph if it is accepted.
    fn note(
        &mut self,
        event: &StoredEvent,
        rechecked: &StoredEvent,
        snapshot_nid: SnapshotNid,
        followed: HashSet<EventNid>,
    ) {
        let replaced = |event: &StoredEvent| event.replaces.as_ref().map(|replaced| replaced.nid);
        let verdict = rechecked.pdu.verdict();
        let is_same = verdict == event.pdu.verdict()
            && event.snapshot_nid == Some(snapshot_nid)
            && replaced(event) == replaced(rechecked);
        if !is_same {
            self.events.push(RecheckedEvent {
                nid: event.nid,
                verdict,
                snapshot_nid,
                replaces_nid: replaced(rechecked),
            });
        }
        if verdict == Verdict::Accepted {
            self.depth = self.depth.max(event.pdu.depth());
            self.ends.retain(|end| !followed.contains(&end.nid));
            self.followed.extend(followed);
            let end = Extremity {
                nid: event.nid,
                snapshot_nid,
            };
            self.ends.insert(0, end);
        }
    }
}

/// The events of a history before which a state must be told by others: those that follow something that is
/// not part of it. Where nothing before an event was known, the state was told when it came; but for
/// the joins.
pub(crate) fn missing_before(
    events: &[StoredEvent],
    known: &HashMap<OwnedEventId, StoredEvent>,
    joins: &[EventNid],
) -> BTreeSet<OwnedEventId> {
    let mut missing = BTreeSet::new();
    let first = first_order(events);
    for event in events {
        let is_join = joins.contains(&event.nid);
        let (before, unknown) = parents(event, first, known);
        if !before.is_empty() || is_join {
            missing.extend(unknown);
        }
    }
    missing
}

/// The place of the first of some events, which are in the order of the history.
fn first_order(events: &[StoredEvent]) -> Option<HistoryOrder> {
    events.first().and_then(|event| event.history_order)
}

/// The parents of an event that come before it in the history, from `first` on, and the others: what is
/// before the first join may be an invitation, the state of which was never known.
fn parents<'k>(
    event: &StoredEvent,
    first: Option<HistoryOrder>,
    known: &'k HashMap<OwnedEventId, StoredEvent>,
) -> (Vec<&'k StoredEvent>, Vec<OwnedEventId>) {
    let (mut before, mut unknown) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for event_id in event.pdu.prev_events().iter().filter(|id| seen.insert(*id)) {
        let parent = known.get(event_id).filter(|parent| {
            parent.room_nid == event.room_nid
                && parent.snapshot_nid.is_some()
                && parent.history_order >= first
                && parent.history_order < event.history_order
        });
        match parent {
            Some(parent) => before.push(parent),
            None => unknown.push(event_id.clone()),
        }
    }
    (before, unknown)
}

/// The same events as if they were received: what they name is read with them.
pub(crate) fn as_received(events: &[StoredEvent]) -> Vec<Received> {
    let events = events.iter().map(|event| Received::of(event.pdu.clone()));
    events.collect()
}

impl Graph<'_> {
    /// What is before events of the history that is not part of it, and after which the state is to be
    /// told by others.
    pub(crate) fn missing_before(
        &self,
        events: &[StoredEvent],
        joins: &[EventNid],
    ) -> BTreeSet<OwnedEventId> {
        missing_before(events, &self.known, joins)
    }

    /// Judges events of the history once more, in their order.
    pub(crate) async fn recheck(
        &mut self,
        events: &[StoredEvent],
        joins: &[EventNid],
        states: &StatesAfter,
        stated: StatedServers,
    ) -> Result<Rechecks, Error> {
        let mut rechecks = Rechecks {
            first: first_order(events),
            servers: RoomServers::new(stated),
            ..Rechecks::default()
        };
        for event in events {
            let is_join = joins.contains(&event.nid);
            Box::pin(self.recheck_event(event, is_join, states, &mut rechecks)).await?;
        }
        // What came after what follows it.
        let followed = &rechecks.followed;
        rechecks.ends.retain(|end| !followed.contains(&end.nid));
        Ok(rechecks)
    }

    async fn recheck_event(
        &mut self,
        event: &StoredEvent,
        is_join: bool,
        states: &StatesAfter,
        rechecks: &mut Rechecks,
    ) -> Result<(), Error> {
        let (before, unknown) = parents(event, rechecks.first, &self.known);
        let before: Vec<_> = before
            .iter()
            .filter_map(|parent| parent.snapshot_nid)
            .collect();
        let before = if before.is_empty() && !is_join {
            self.state_before_known(event.nid).await?
        } else {
            self.resolved_before(&before, unknown, states).await?
        };
        let known = self.known.get(event.pdu.event_id());
        let pdu = known.map_or_else(|| event.pdu.clone(), |known| known.pdu.clone());
        let verdict = if is_join {
            // The server that let the user in has judged it by the whole state.
            event.pdu.verdict()
        } else {
            let ends = &rechecks.ends;
            self.verdict_again(event, &pdu, before.clone(), ends)
                .await?
        };
        let state_event = StateEvent {
            nid: event.nid,
            pdu: Arc::new(Pdu::clone(&pdu).with_verdict(verdict)),
        };
        let (after, replaces) = self.state_after(&state_event, &before).await?;
        if is_join {
            let stored = self.states(event.snapshot_nid.as_slice()).await?;
            let stored = stored.into_iter().next().unwrap_or_else(|| after.clone());
            let believed = self.joined_users(&stored).await?;
            let actual = self.joined_users(&after).await?;
            rechecks.servers.begin(believed, actual);
        } else {
            let is_accepted = verdict == Verdict::Accepted;
            let was_accepted = event.is_accepted();
            rechecks.servers.follow(&pdu, was_accepted, is_accepted);
        }
        let rechecked = StoredEvent {
            pdu: state_event.pdu,
            snapshot_nid: Some(after.snapshot_nid),
            replaces,
            ..event.clone()
        };
        let followed = self.followed_by(&rechecked);
        rechecks.note(event, &rechecked, after.snapshot_nid, followed);
        self.known.insert(event.pdu.event_id().clone(), rechecked);
        Ok(())
    }

    /// What the rules say of an event by the whole state before it. One that was soft-failed stays so: a
    /// policy server may have had it so.
    async fn verdict_again(
        &mut self,
        event: &StoredEvent,
        pdu: &Arc<Pdu>,
        before: StateAt,
        ends: &[Extremity],
    ) -> Result<Verdict, Error> {
        let known = event.pdu.verdict();
        let current = if known == Verdict::Accepted || ends.is_empty() {
            before.clone()
        } else {
            self.state_after_ends(ends).await?
        };
        let judged = self.verdict(pdu, &[before, current], None).await?;
        let verdict = judged.map_or(known, |(verdict, _)| verdict);
        Ok(match (known, verdict) {
            (Verdict::SoftFailed, Verdict::Accepted) => Verdict::SoftFailed,
            (_, verdict) => verdict,
        })
    }

    /// The state before an event, from the states after what is before it.
    async fn resolved_before(
        &mut self,
        known: &[SnapshotNid],
        unknown: Vec<OwnedEventId>,
        states: &StatesAfter,
    ) -> Result<StateAt, Error> {
        let mut found = self.states(known).await?;
        for event_id in unknown {
            let after = states.get(&event_id);
            let after =
                after.ok_or(Error::InvalidRoom("the state before the join is not known"))?;
            found.push(self.fetched_state(after).await?);
        }
        self.resolve(found).await
    }

    async fn state_after_ends(&mut self, ends: &[Extremity]) -> Result<StateAt, Error> {
        let snapshots: Vec<_> = ends.iter().map(|end| end.snapshot_nid).collect();
        let states = self.states(&snapshots).await?;
        self.resolve(states).await
    }

    /// The events that an event follows, and those before them that were refused.
    fn followed_by(&self, event: &StoredEvent) -> HashSet<EventNid> {
        let mut followed = HashSet::new();
        let mut open: Vec<&OwnedEventId> = event.pdu.prev_events().iter().collect();
        while let Some(event_id) = open.pop() {
            let Some(parent) = self.known.get(event_id) else {
                continue;
            };
            if parent.room_nid == event.room_nid
                && followed.insert(parent.nid)
                && !parent.is_accepted()
            {
                open.extend(parent.pdu.prev_events());
            }
        }
        followed
    }

    /// The users who are in the room in a state.
    async fn joined_users(&mut self, state: &StateAt) -> Result<Vec<OwnedUserId>, Error> {
        let events = self.read_events(state.entries.values().copied().collect());
        let events = events.await?;
        let joined =
            (events.values()).filter(|pdu| pdu.membership() == Some(MembershipState::Join));
        let users = joined.filter_map(|pdu| OwnedUserId::try_from(pdu.state_key()?).ok());
        Ok(users.collect())
    }

    /// What is to be written where nothing is judged once more.
    pub(crate) fn finish_unchecked(self) -> RoomWrite {
        let state = &self.head.state;
        let expected = state.head_version();
        let mut next = state.head();
        next.version.revision += 1;
        RoomWrite {
            room_nid: self.head.room_nid,
            expected,
            next,
            events: Vec::new(),
            snapshots: Vec::new(),
            layers: None,
            create: None,
            recheck: Some(Recheck {
                events: Vec::new(),
                delta: Vec::new(),
                missed: Vec::new(),
            }),
            partial: None,
        }
    }

    /// What is to be written: the current state and the ends of the graph follow from what was found out.
    pub(crate) async fn finish_recheck(mut self, rechecks: Rechecks) -> Result<RoomWrite, Error> {
        let expected = self.head.state.head_version();
        let current = self.state_after_ends(&rechecks.ends).await?;
        let delta = self.changes(&current).await?;
        let layers = self.layers(&current).await?;
        let version = HeadVersion {
            revision: expected.revision + 1,
            extremities: rechecks.ends.iter().map(|end| end.nid).collect(),
        };
        Ok(RoomWrite {
            room_nid: self.head.room_nid,
            expected,
            next: RoomHead {
                version,
                depth: i64::try_from(rechecks.depth.max(self.depth)).unwrap_or(i64::MAX),
                snapshot_nid: current.snapshot_nid,
            },
            events: Vec::new(),
            snapshots: self.snapshots,
            layers: Some(layers),
            create: None,
            recheck: Some(Recheck {
                events: rechecks.events,
                delta,
                missed: rechecks.servers.into_missed(),
            }),
            partial: None,
        })
    }
}
