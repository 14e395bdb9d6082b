//! The events that relate to an event.

use ruma::EventId;
use types::{HistoryOrder, RoomNid};

use super::{Direction, Row, StoredEvent, collect};
use crate::{Connection, Error};

/// Which related events are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Related<'a> {
    /// The room.
    pub room_nid: RoomNid,
    /// The event that they relate to.
    pub target: &'a EventId,
    /// Only relations of this type.
    pub rel_type: Option<&'a str>,
    /// Only events of this type.
    pub event_type: Option<&'a str>,
}

/// Accepted events that relate to an event, with `after < order <= until`, as `history` reads
/// them. What was redacted relates to nothing any more.
#[tracing::instrument(name = "storage.events.related", level = "debug", skip_all)]
pub async fn related(
    db: &mut Connection,
    wanted: Related<'_>,
    after: HistoryOrder,
    until: HistoryOrder,
    direction: Direction,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    let rows = fetch_page!(
        db,
        direction,
        limit,
        "JOIN relations l ON l.event_nid = e.event_nid
         WHERE l.room_nid = $2 AND l.target_id = $3 AND l.history_order > $4 AND l.history_order <= $5
             AND ($6::text IS NULL OR l.rel_type = $6) AND ($7::text IS NULL OR e.event_type = $7)
             AND e.verdict = 0 AND e.redacted_by_nid IS NULL
         ORDER BY l.history_order",
        wanted.room_nid.get(),
        wanted.target.as_str(),
        after.get(),
        until.get(),
        wanted.rel_type,
        wanted.event_type
    )?;
    collect(rows)
}
