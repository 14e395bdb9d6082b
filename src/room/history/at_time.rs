//! The event of a room next to a time: `/timestamp_to_event`.
//!
//! Spec: client-server and server-server, "Get the closest event ID to the given timestamp".

use federation::AtTime;
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, ServerName, api::Direction as Way};
use storage::{
    StoredEvent,
    event_edges::{self, Gap},
    events::{self, Direction},
};
use tokio::time::{Instant, timeout_at};
use types::HistoryOrder;

use crate::{
    Error, Reader, Rooms,
    backfill::{Filled, WAIT},
    head::Head,
};

/// How many events next to a time are read, if none of the nearer ones may be seen.
const EVENTS_READ: [i64; 3] = [4, 40, 500];
/// The most gaps that are scanned.
const MAX_GAPS: i64 = 100;

impl Rooms {
    /// The event that a user sees next to a time: at or after it forwards, at or before it backwards.
    /// Where the known history has a gap there, other servers are asked.
    #[tracing::instrument(name = "room.event_at_time", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn event_at_time(
        &self,
        room_id: &RoomId,
        reader: Reader<'_>,
        wanted: AtTime,
    ) -> Result<(OwnedEventId, MilliSecondsSinceUnixEpoch), Error> {
        let head = self.check_read_access(room_id, reader).await?;
        let known = self.known_at_time(&head, reader, wanted).await?;
        let gap = self
            .gap_at_time(&head, known.as_ref(), wanted.direction)
            .await?;
        let found = match gap {
            Some(gap) => {
                let deadline = Instant::now() + WAIT;
                let nearer_than = known.as_ref().map(|known| known.pdu.origin_server_ts());
                let asking = self.ask_at_time(&head, &gap, (nearer_than, wanted), deadline);
                let learned = timeout_at(deadline, Box::pin(asking)).await;
                let learned = learned.unwrap_or(false);
                if learned {
                    self.known_at_time(&head, reader, wanted).await?
                } else {
                    known
                }
            }
            None => known,
        };
        let found = found.ok_or(Error::NothingAtTime)?;
        Ok((found.pdu.event_id().clone(), found.pdu.origin_server_ts()))
    }

    /// The event next to a time that another server may see.
    pub async fn serve_event_at_time(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        wanted: AtTime,
    ) -> Result<(OwnedEventId, MilliSecondsSinceUnixEpoch), Error> {
        let head = self.head_for_server(server, room_id).await?;
        let mut looked_at = 0;
        for limit in EVENTS_READ {
            let found = self.next_to_time(&head, wanted, limit).await?;
            let is_all = found.len() < limit as usize;
            let next = found.into_iter().skip(looked_at).collect();
            looked_at = limit as usize;
            if let Some(found) = self.first_seen_by(&head, server, next).await? {
                return Ok((found.event_id().clone(), found.origin_server_ts()));
            }
            if is_all {
                break;
            }
        }
        Err(Error::NothingAtTime)
    }

    /// The known event next to a time that a user sees.
    async fn known_at_time(
        &self,
        head: &Head,
        reader: Reader<'_>,
        wanted: AtTime,
    ) -> Result<Option<StoredEvent>, Error> {
        let mut view = self.history_view(head, reader.user_id).await?;
        let mut looked_at = 0;
        for limit in EVENTS_READ {
            let found = self.next_to_time(head, wanted, limit).await?;
            let is_all = found.len() < limit as usize;
            let mut next: Vec<StoredEvent> = found.into_iter().skip(looked_at).collect();
            looked_at = limit as usize;
            {
                let mut db = self.0.database.acquire().await?;
                view.look_up(&mut db, &next).await?;
            }
            if let Some(seen) = next.iter().position(|event| view.visibility.may_see(event)) {
                return Ok(Some(next.swap_remove(seen)));
            }
            if is_all {
                break;
            }
        }
        Ok(None)
    }

    /// The known events next to a time, the nearest first.
    async fn next_to_time(
        &self,
        head: &Head,
        wanted: AtTime,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, Error> {
        let ts = i64::from(wanted.ts.0);
        let direction = match wanted.direction {
            Way::Forward => Direction::Forward,
            Way::Backward => Direction::Backward,
        };
        let mut db = self.0.database.acquire().await?;
        Ok(events::at_time(&mut db, head.room_nid, ts, direction, limit).await?)
    }

    /// The gap in the known history that may hold a nearer event than the known one.
    async fn gap_at_time(
        &self,
        head: &Head,
        known: Option<&StoredEvent>,
        direction: Way,
    ) -> Result<Option<Gap>, Error> {
        if !self.has_remote_members(head) {
            return Ok(None);
        }
        let (room_nid, last) = (head.room_nid, HistoryOrder(i64::MAX));
        let mut db = self.0.database.acquire().await?;
        let Some(known) = known.and_then(|known| known.history_order) else {
            // Before all that is known is the earliest gap.
            let gaps = event_edges::gaps(&mut db, room_nid, last, MAX_GAPS).await?;
            return Ok(gaps
                .into_iter()
                .last()
                .filter(|_| direction == Way::Backward));
        };
        let gaps = match direction {
            Way::Forward => event_edges::gaps(&mut db, room_nid, known, 1).await?,
            Way::Backward => event_edges::gaps(&mut db, room_nid, last, MAX_GAPS).await?,
        };
        match direction {
            // Right before the known event.
            Way::Forward => Ok(gaps.into_iter().find(|gap| gap.order == known)),
            Way::Backward => {
                // Right after it: nothing else is known in between.
                let next = gaps.into_iter().rev().find(|gap| gap.order > known);
                let Some(next) = next else { return Ok(None) };
                let between = (known, next.order.before());
                let count = events::count_between(&mut db, room_nid, between, 1).await?;
                Ok((count == 0).then_some(next))
            }
        }
    }

    /// Asks other servers for a nearer event, and has the history filled with it; whether there is
    /// more to see now.
    async fn ask_at_time(
        &self,
        head: &Head,
        gap: &Gap,
        (known, wanted): (Option<MilliSecondsSinceUnixEpoch>, AtTime),
        deadline: Instant,
    ) -> bool {
        let room_id = head.state.room_id();
        for server in self.servers_to_ask(head, None) {
            let asked = self.0.federation.event_at_time(&server, room_id, wanted);
            let (event_id, ts) = match asked.await {
                Ok(found) => found,
                Err(error) => {
                    self.note_failure_of(&server, &error.into());
                    continue;
                }
            };
            if !is_nearer(ts, known, wanted) {
                continue;
            }
            // Near the end of what is known it is found with all that is in between.
            let filled = self.fill_gap_now(head, gap, deadline).await;
            let is_known = self.is_in_history(head, &event_id).await.unwrap_or(false);
            if is_known || self.fetch_unknown(head, &event_id, deadline).await {
                return true;
            }
            if filled == Filled::Changed {
                return true;
            }
        }
        false
    }
}

/// Whether an event of one time is on the right side of the wanted time, and nearer than a known one.
fn is_nearer(
    ts: MilliSecondsSinceUnixEpoch,
    known: Option<MilliSecondsSinceUnixEpoch>,
    wanted: AtTime,
) -> bool {
    match wanted.direction {
        Way::Forward => ts >= wanted.ts && known.is_none_or(|known| ts < known),
        Way::Backward => ts <= wanted.ts && known.is_none_or(|known| ts > known),
    }
}
