//! Single events of a room's history that are asked for by name or time: they are put where they
//! belong as far as that can be told, and the history ends before and after them until it is filled.

use ruma::{EventId, ServerName};
use storage::{
    event_edges::{self, Gap},
    events,
};
use tokio::time::{Instant, timeout_at};
use types::{HistoryOrder, RoomNid};

use crate::{
    Error, Rooms,
    append::received::{Graph, Outcome, Passed, Received, StateBefore, nids_for},
    head::Head,
    outliers::RoomIdentity,
};

/// How far below what follows an event is put that is not connected to it: as many events fit in
/// between.
const DISTANCE: i64 = 1 << 19;
/// The most gaps among which the one is chosen that an event belongs to.
const MAX_GAPS: i64 = 100;

/// What became of an event that was asked for.
enum Fetched {
    /// It is in the history now.
    Added,
    /// The servers answered without it.
    Missing,
    /// It may be had later.
    Failed,
}

impl Rooms {
    /// Asks the servers in a room for an event that is not known here, and puts it into the history;
    /// `false` if none has it, it does not hold, or the time is over. What no server has is not asked
    /// for again for a while.
    pub(crate) async fn fetch_unknown(
        &self,
        head: &Head,
        event_id: &EventId,
        deadline: Instant,
    ) -> bool {
        let own_name = &self.0.settings.server_name;
        if !self.has_remote_members(head) || self.refusal(head, own_name).is_some() {
            return false;
        }
        let key = (head.room_nid, event_id.to_owned());
        let missing_events = &self.0.backfill.missing_events;
        if missing_events.contains_key(&key) {
            return false;
        }
        let fetching = self.fetch_from_any(head, event_id);
        match timeout_at(deadline, Box::pin(fetching)).await {
            Ok(Fetched::Added) => true,
            Ok(Fetched::Missing) => {
                missing_events.insert(key, ());
                false
            }
            Ok(Fetched::Failed) | Err(_) => false,
        }
    }

    async fn fetch_from_any(&self, head: &Head, event_id: &EventId) -> Fetched {
        let servers = self.servers_to_ask(head, None);
        let mut is_missing = !servers.is_empty();
        for server in servers {
            match Box::pin(self.fetch_single_event(head, &server, event_id)).await {
                Ok(true) => return Fetched::Added,
                Ok(false) => {}
                Err(error) => {
                    is_missing &= self.note_failure_of(&server, &error);
                    tracing::info!(event.id = %event_id, server.name = %server, %error, "An event could not be fetched");
                }
            }
        }
        if is_missing {
            Fetched::Missing
        } else {
            Fetched::Failed
        }
    }

    /// Asks one server for an event, and puts it into the history; `false` if it does not hold.
    pub(crate) async fn fetch_single_event(
        &self,
        head: &Head,
        server: &ServerName,
        event_id: &EventId,
    ) -> Result<bool, Error> {
        let room = RoomIdentity::of(head);
        let fetched = self.0.federation.event(server, event_id).await?;
        let verified = self.verify_events(&room, vec![fetched]).await?;
        let mut events = self.unknown(&room, verified).await?;
        events.retain(|pdu| pdu.event_id() == event_id);
        let Some(pdu) = events.first().cloned() else {
            return Ok(false);
        };
        let lock = self.0.backfill.locks.of(&room.room_id);
        let _filling = lock.lock().await;
        let mut state = None;
        if !self.lowest(&room, head, &events).await?.is_empty() {
            let fetched = self.fetch_state(server, &room, pdu.event_id(), false);
            state = Some(StateBefore::Fetched(fetched.await?));
        }
        self.fetch_auth_events(server, &room, &events).await?;
        let received = Received::of(pdu);
        self.add_single_event(&room, &received, state).await
    }

    async fn add_single_event(
        &self,
        room: &RoomIdentity,
        received: &Received,
        state: Option<StateBefore>,
    ) -> Result<bool, Error> {
        let entry = self.0.heads.get(&room.room_id);
        let events = std::slice::from_ref(received);
        let nids = self.0.nids.allocate(nids_for(events) + 2).await?;
        let mut locked = self.lock_room(&room.room_id, &entry).await?;
        let event_id = received.pdu.event_id();
        let (db, room_nid) = (&mut locked.tx, room.room_nid);
        let ids = [event_id.clone()];
        let children = event_edges::places_of_children(db, room_nid, &ids).await?;
        let Some(by_depth) = place_by_depth(db, room_nid, received.pdu.depth()).await? else {
            return Ok(false);
        };
        let head = locked.head.clone();
        let mut graph = Graph::new(self, &mut locked.tx, &head, events, nids).await?;
        let places = graph.places(events, &children, &Passed::new()).await?;
        let place = places.get(event_id).copied().unwrap_or(by_depth);
        let filled = Box::pin(graph.fill(received, place, state.as_ref()));
        if let Outcome::Dropped(reason) = filled.await? {
            tracing::info!(event.id = %event_id, reason, "An event of another server is not taken");
            return Ok(false);
        }
        let Some(write) = graph.finish_filling() else {
            return Ok(false);
        };
        locked.commit_history(self, write).await?;
        Ok(true)
    }
}

/// A free place in the gap that an event of some depth belongs to.
async fn place_by_depth(
    db: &mut storage::Connection,
    room_nid: RoomNid,
    depth: u64,
) -> Result<Option<HistoryOrder>, Error> {
    let last = HistoryOrder(i64::MAX);
    let gaps = event_edges::gaps(db, room_nid, last, MAX_GAPS).await?;
    let Some(gap) = gap_of(&gaps, depth) else {
        return Ok(None);
    };
    let free = events::free_places(db, room_nid, gap.order).await?;
    Ok(free.map(|free| {
        let [highest, lowest] = [free.highest.get(), free.lowest.get()];
        HistoryOrder(highest - DISTANCE.min(highest.saturating_sub(lowest) / 2))
    }))
}

/// The gap that an event of some depth belongs to: the earliest of those below an event that is
/// deeper. Gaps come the latest first.
fn gap_of(gaps: &[Gap], depth: u64) -> Option<&Gap> {
    let deeper = gaps.iter().rev().find(|gap| gap.depth > depth);
    deeper.or(gaps.first())
}
