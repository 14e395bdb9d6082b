//! Asking a server for the events before some, and filling them in.
//!
//! Only what leads to events that are known is taken; the state at it is asked of the server, or
//! follows from what is known.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use event::Pdu;
use ruma::{OwnedEventId, ServerName};
use serde_json::value::RawValue;
use storage::{
    StoredEvent,
    event_edges::{self, Gap},
    events,
};
use tokio::time::timeout;

use crate::{
    Error, Rooms,
    append::received::{Graph, Outcome, Passed, Received, StateBefore, nids_for},
    head::Head,
    outliers::{RoomIdentity, blocking},
    receive::order,
};

/// How many events a server is asked for at once.
const LIMIT: u32 = 100;
/// The most events of which the state before is asked for.
const MAX_STATES: usize = 8;
/// How long one server has, with all that is fetched besides.
const SERVER_TIME: Duration = Duration::from_mins(2);
/// The most events that are written together.
const MAX_WRITE: usize = 50;

/// What is known of the state before events that lead out of the known history.
type States = HashMap<OwnedEventId, StateBefore>;

/// Events that are to be put into the history.
struct NewHistory {
    /// Parents before their children.
    events: Vec<Received>,
    states: States,
    passed: Passed,
}

impl Rooms {
    /// Asks the servers in turn; returns how many events were added, and whether all servers
    /// answered.
    pub(super) async fn fill_from_any(
        &self,
        head: &Head,
        gap: &Gap,
        parents: &[OwnedEventId],
    ) -> Result<(usize, bool), Error> {
        let room = RoomIdentity::of(head);
        let child = {
            let mut db = self.0.database.acquire().await?;
            events::by_nids(&mut db, &[gap.child]).await?.pop()
        };
        let child = child.ok_or(Error::UnknownEvent)?;
        let knows = child.pdu.sender().server_name();
        let servers = self.servers_to_ask(head, Some(knows));
        let mut is_final = !servers.is_empty();
        for server in servers {
            let filling = Box::pin(self.fill_from(&server, &room, head, &child, parents));
            match timeout(SERVER_TIME, filling).await {
                Ok(Ok(0)) => {}
                Ok(Ok(added)) => return Ok((added, false)),
                Ok(Err(error @ (Error::Storage(_) | Error::Commit(_)))) => return Err(error),
                Ok(Err(error)) => {
                    is_final &= self.note_failure_of(&server, &error);
                    tracing::info!(room.id = %room.room_id, server.name = %server, %error, "Events before the known history could not be fetched");
                }
                Err(_) => {
                    tracing::info!(room.id = %room.room_id, server.name = %server, "A server takes too long to answer for events before the known history");
                    self.0.backfill.failing_servers.insert(server.clone(), ());
                    is_final = false;
                }
            }
        }
        Ok((0, is_final))
    }

    /// Asks one server; returns how many events were added.
    async fn fill_from(
        &self,
        server: &ServerName,
        room: &RoomIdentity,
        head: &Head,
        child: &StoredEvent,
        parents: &[OwnedEventId],
    ) -> Result<usize, Error> {
        let federation = &self.0.federation;
        let fetched = federation.backfill(server, &room.room_id, parents, LIMIT);
        let fetched = fetched.await?;
        let mut passed = {
            let (room, fetched) = (room.clone(), fetched.clone());
            blocking(move || parents_of(&room, &fetched)).await?
        };
        let verified = self.verify_events(room, fetched).await?;
        passed.retain(|event_id, _| verified.iter().all(|pdu| pdu.event_id() != event_id));
        let events = self.unknown(room, verified).await?;
        let events = order::sorted(connected(events, parents, &passed));
        if events.is_empty() {
            return Ok(0);
        }
        let states = self
            .states_before(server, room, head, child, &events)
            .await?;
        self.fetch_auth_events(server, room, &events).await?;
        let new = NewHistory {
            events: events.into_iter().map(Received::of).collect(),
            states,
            passed,
        };
        self.add_history(room, &new).await
    }

    /// The states before those of the events that follow something which is not known.
    async fn states_before(
        &self,
        server: &ServerName,
        room: &RoomIdentity,
        head: &Head,
        child: &StoredEvent,
        events: &[Arc<Pdu>],
    ) -> Result<States, Error> {
        let lowest = self.lowest(room, head, events).await?;
        let mut states = States::new();
        // What follows from a state of which parts are not known is not known either.
        let is_whole = !head.state.is_partial();
        if let ([only], true) = (&lowest[..], is_whole && is_chain(events, &child.pdu)) {
            // Nothing between the two changes the state.
            states.insert(only.event_id().clone(), StateBefore::As(child.nid));
            return Ok(states);
        }
        for pdu in lowest.into_iter().take(MAX_STATES) {
            let fetched = self
                .fetch_state(server, room, pdu.event_id(), false)
                .await?;
            states.insert(pdu.event_id().clone(), StateBefore::Fetched(fetched));
        }
        Ok(states)
    }

    /// Those of the events that name a parent after which the state is not known.
    pub(super) async fn lowest(
        &self,
        room: &RoomIdentity,
        head: &Head,
        events: &[Arc<Pdu>],
    ) -> Result<Vec<Arc<Pdu>>, Error> {
        let own: HashSet<&OwnedEventId> = events.iter().map(|pdu| pdu.event_id()).collect();
        let parents = events.iter().flat_map(|pdu| pdu.prev_events());
        let parents: HashSet<OwnedEventId> =
            parents.filter(|id| !own.contains(id)).cloned().collect();
        let parents: Vec<OwnedEventId> = parents.into_iter().collect();
        let found = {
            let mut db = self.0.database.acquire().await?;
            events::by_ids(&mut db, &parents).await?
        };
        let create = head.state.core().get("m.room.create", "");
        let has_state = |found: &StoredEvent| {
            // At an invitation from before this server was in the room, only what its users were
            // shown is known. Nothing authorises it here.
            let is_outside = found.pdu.event_type() == "m.room.member"
                && found.auth_nids.is_empty()
                && create.is_none_or(|create| create.sender() != found.pdu.sender());
            found.room_nid == room.room_nid && found.snapshot_nid.is_some() && !is_outside
        };
        let known = found.into_iter().filter(has_state);
        let known: HashSet<OwnedEventId> =
            known.map(|found| found.pdu.event_id().clone()).collect();
        let is_known = |id: &OwnedEventId| own.contains(id) || known.contains(id);
        let lowest = events.iter();
        let lowest = lowest.filter(|pdu| !pdu.prev_events().iter().all(is_known));
        Ok(lowest.cloned().collect())
    }

    /// Puts events into the history; returns how many of them.
    async fn add_history(&self, room: &RoomIdentity, new: &NewHistory) -> Result<usize, Error> {
        let mut added = 0;
        let mut done = 0;
        for write in order::writes(new.events.clone(), MAX_WRITE) {
            let to = done + write.len();
            added += self.add_some(room, new, done..to).await?;
            done = to;
        }
        Ok(added)
    }

    /// Puts some of the events into the history, with room for the later ones above them.
    async fn add_some(
        &self,
        room: &RoomIdentity,
        new: &NewHistory,
        range: Range<usize>,
    ) -> Result<usize, Error> {
        let some = new.events.get(range.clone()).unwrap_or_default();
        let left = new.events.get(range.start..).unwrap_or_default();
        let entry = self.0.heads.get(&room.room_id);
        let nids = self.0.nids.allocate(nids_for(some) + 2 * new.states.len());
        let nids = nids.await?;
        let mut locked = self.lock_room(&room.room_id, &entry).await?;
        let named = left.iter().map(|event| event.pdu.event_id());
        let named: Vec<OwnedEventId> = named.chain(new.passed.keys()).cloned().collect();
        let children =
            event_edges::places_of_children(&mut locked.tx, room.room_nid, &named).await?;
        let head = locked.head.clone();
        let mut graph = Graph::new(self, &mut locked.tx, &head, some, nids).await?;
        let places = graph.places(left, &children, &new.passed).await?;
        for event in some {
            let event_id = event.pdu.event_id();
            let Some(place) = places.get(event_id) else {
                continue;
            };
            let filled = Box::pin(graph.fill(event, *place, new.states.get(event_id)));
            if let Outcome::Dropped(reason) = filled.await? {
                tracing::info!(event.id = %event_id, reason, "An event before the known history is not taken");
            }
        }
        let Some(write) = graph.finish_filling() else {
            return Ok(0);
        };
        let added = write.events.len();
        locked.commit_history(self, write).await?;
        Ok(added)
    }
}

/// The parents of events that have the form of events of the room, whether they hold or not.
fn parents_of(room: &RoomIdentity, events: &[Box<RawValue>]) -> Passed {
    let parsed = events
        .iter()
        .filter_map(|event| Pdu::parse(event.get(), &room.version).ok());
    let of_room = parsed.filter(|pdu| *pdu.room_id() == room.room_id);
    of_room
        .map(|pdu| (pdu.event_id().clone(), pdu.prev_events().to_vec()))
        .collect()
}

/// Those of the events that are wanted, and those before them, also past events that are passed over.
/// Events come the latest first, and are returned the earliest first.
fn connected(events: Vec<Arc<Pdu>>, wanted: &[OwnedEventId], passed: &Passed) -> Vec<Arc<Pdu>> {
    let by_id: HashMap<&OwnedEventId, &Arc<Pdu>> =
        events.iter().map(|pdu| (pdu.event_id(), pdu)).collect();
    let mut open: Vec<&OwnedEventId> = wanted.iter().collect();
    let mut found: HashSet<&OwnedEventId> = HashSet::new();
    while let Some(event_id) = open.pop() {
        let known = by_id.get(event_id).map(|pdu| pdu.prev_events());
        let parents = known.or_else(|| passed.get(event_id).map(|parents| &parents[..]));
        if let Some(parents) = parents
            && found.insert(event_id)
        {
            open.extend(parents);
        }
    }
    let connected = events.iter().rev();
    let connected = connected.filter(|pdu| found.contains(pdu.event_id()));
    connected.cloned().collect()
}

/// Whether sorted events follow each other one by one up to `child`, and none of them is state.
fn is_chain(events: &[Arc<Pdu>], child: &Pdu) -> bool {
    let follows =
        |pdu: &Pdu, before: &Pdu| pdu.prev_events() == std::slice::from_ref(before.event_id());
    let mut pairs = events.iter().zip(events.iter().skip(1));
    let first = events.first();
    first.is_some_and(|first| first.prev_events().len() == 1)
        && events.last().is_some_and(|last| follows(child, last))
        && pairs.all(|(before, pdu)| follows(pdu, before))
        && events.iter().all(|pdu| !pdu.is_state())
}
