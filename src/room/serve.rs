//! Giving events of rooms to other servers that are in them.
//!
//! Spec: server-server, "Backfilling and retrieving missing events", "Retrieving events". What a server
//! may not see it gets redacted, so that the graph stays whole.

mod seen;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use event::Pdu;
use ruma::{EventId, OwnedEventId, RoomId, ServerName, events::room::member::MembershipState};
use storage::{
    StoredEvent,
    events::{self, Direction},
    snapshots,
};
use types::{EventNid, HistoryOrder};

use crate::{Error, Rooms, head::Head};

/// The most events of a page.
const MAX_PAGE: usize = 100;
/// How many events are read at once, and how many may be passed over that are on other branches.
const BATCH: usize = 200;
const MAX_SCANNED: usize = 2_000;

/// The state before an event, and the events that authorise it.
#[derive(Debug, Default)]
pub struct ServedState {
    /// The state.
    pub state: Vec<Arc<Pdu>>,
    /// The events that authorise it.
    pub auth_chain: Vec<Arc<Pdu>>,
}

/// Which events before others are asked for.
#[derive(Clone, Copy, Debug)]
pub struct EventsBefore<'a> {
    /// The events before which the others are.
    pub latest: &'a [OwnedEventId],
    /// Events that are known: nothing before them is wanted, nor they.
    pub earliest: &'a [OwnedEventId],
    /// Whether `latest` are wanted, too.
    pub with_latest: bool,
    /// How deep events must be.
    pub min_depth: u64,
    /// How many at the most.
    pub limit: usize,
}

impl Rooms {
    /// One event of any room.
    pub async fn serve_event(
        &self,
        server: &ServerName,
        event_id: &EventId,
    ) -> Result<Arc<Pdu>, Error> {
        let found = {
            let mut db = self.0.database.acquire().await?;
            events::by_ids(&mut db, &[event_id.to_owned()]).await?.pop()
        };
        let found = found.ok_or(Error::UnknownEvent)?;
        let room_id = found.pdu.room_id().clone();
        let head = self.head_for_server(server, &room_id).await?;
        let mut seen = self.seen_by(&head, server, vec![found]).await?;
        seen.pop().ok_or(Error::UnknownEvent)
    }

    /// The state before an event.
    pub async fn serve_state(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<ServedState, Error> {
        let (_, event) = self.event_for_server(server, room_id, event_id).await?;
        let snapshot = event.snapshot_nid.ok_or(Error::UnknownEvent)?;
        let mut db = self.0.database.acquire().await?;
        let mut stored = snapshots::read(&mut db, &[snapshot]).await?;
        let after = stored.remove(&snapshot).unwrap_or_default().state;
        let nids = after.into_values().filter(|nid| *nid != event.nid);
        let replaced = event.replaces.as_ref().map(|replaced| replaced.nid);
        let state: Vec<EventNid> = nids.chain(replaced).collect();
        let chain = events::auth_chain(&mut db, &state).await?;
        let served = ServedState {
            state: pdus(events::by_nids(&mut db, &state).await?),
            auth_chain: pdus(events::by_nids(&mut db, &chain).await?),
        };
        Ok(served)
    }

    /// The events that authorise an event, directly or by way of others.
    pub async fn serve_auth_chain(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Arc<Pdu>>, Error> {
        let (_, event) = self.event_for_server(server, room_id, event_id).await?;
        let mut db = self.0.database.acquire().await?;
        let chain = events::auth_chain(&mut db, &[event.nid]).await?;
        Ok(pdus(events::by_nids(&mut db, &chain).await?))
    }

    /// Events before others, the newest first. Other branches are left out.
    #[tracing::instrument(name = "room.serve_before", skip_all, fields(room.id = %room_id, server.name = %server), err(level = "debug"))]
    pub async fn serve_before(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        wanted: EventsBefore<'_>,
    ) -> Result<Vec<Arc<Pdu>>, Error> {
        let head = self.head_for_server(server, room_id).await?;
        let mut db = self.0.database.acquire().await?;
        let latest = events::by_ids(&mut db, wanted.latest).await?.into_iter();
        let latest = latest.filter(|event| event.room_nid == head.room_nid);
        let latest: Vec<StoredEvent> = latest.collect();
        let orders = latest.iter().filter_map(|event| event.history_order);
        let Some(mut until) = orders.max() else {
            return Ok(Vec::new());
        };
        let mut walk = Walk::new(&wanted, &latest);
        let mut scanned = 0;
        while !walk.is_done() && scanned < MAX_SCANNED {
            let room_nid = head.room_nid;
            let after = HistoryOrder::MIN;
            let direction = Direction::Backward;
            let page =
                events::history(&mut db, room_nid, after, until, direction, BATCH as i64).await?;
            let is_last = page.len() < BATCH;
            scanned += page.len();
            for event in page {
                until = event.history_order.map_or(until, HistoryOrder::before);
                walk.visit(event);
            }
            if is_last {
                break;
            }
        }
        drop(db);
        self.seen_by(&head, server, walk.found).await
    }

    /// The head of a room, for a server that has a user in it.
    pub(crate) async fn head_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
    ) -> Result<Head, Error> {
        let head = self.head(room_id).await?;
        if self.refusal(&head, server).is_some() {
            return Err(Error::Forbidden(
                "The room does not allow your server, or this one is not in it",
            ));
        }
        if head.state.is_partial() {
            return Err(Error::PartialState);
        }
        let is_in_room = head.state.members().iter().any(|(user_id, member)| {
            member.membership() == MembershipState::Join && is_of(user_id, server)
        });
        if is_in_room {
            Ok(head)
        } else {
            Err(Error::Forbidden("Your server is not in the room"))
        }
    }

    async fn event_for_server(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<(Head, StoredEvent), Error> {
        let head = self.head_for_server(server, room_id).await?;
        let mut db = self.0.database.acquire().await?;
        let event = events::find(&mut db, head.room_nid, event_id).await?;
        Ok((head, event.ok_or(Error::UnknownEvent)?))
    }
}

/// Whether a user, as text, is of a server.
pub(crate) fn is_of(user_id: &str, server: &ServerName) -> bool {
    let user_id = <&ruma::UserId>::try_from(user_id);
    user_id.is_ok_and(|user_id| user_id.server_name() == server)
}

fn pdus(events: Vec<StoredEvent>) -> Vec<Arc<Pdu>> {
    events.into_iter().map(|event| event.pdu).collect()
}

/// A walk from events to those before them, along a history that is read backwards.
struct Walk<'a> {
    wanted: &'a EventsBefore<'a>,
    limit: usize,
    open: HashSet<OwnedEventId>,
    found: Vec<StoredEvent>,
}

impl<'a> Walk<'a> {
    fn new(wanted: &'a EventsBefore<'a>, latest: &[StoredEvent]) -> Self {
        let by_id: HashMap<_, _> = (latest.iter())
            .map(|event| (event.pdu.event_id().clone(), event))
            .collect();
        let open = if wanted.with_latest {
            by_id.into_keys().collect()
        } else {
            let parents = latest.iter().flat_map(|event| event.pdu.prev_events());
            parents.cloned().collect()
        };
        Self {
            wanted,
            limit: wanted.limit.min(MAX_PAGE),
            open,
            found: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.open.is_empty() || self.found.len() >= self.limit
    }

    /// Children come before their parents.
    fn visit(&mut self, event: StoredEvent) {
        let event_id = event.pdu.event_id();
        if self.found.len() >= self.limit
            || !self.open.remove(event_id)
            || self.wanted.earliest.contains(event_id)
            || event.pdu.depth() < self.wanted.min_depth
        {
            return;
        }
        self.open.extend(event.pdu.prev_events().iter().cloned());
        self.found.push(event);
    }
}
