//! The events that relate to an event.

use ruma::EventId;
use types::{HistoryOrder, RoomNid};

use super::{Direction, Row, StoredEvent, collect};
use crate::{Connection, Error};

/// Selects the events that relate to another one.
#[derive(Clone, Copy, Debug)]
pub struct RelationQuery<'a> {
    /// The room.
    pub room_nid: RoomNid,
    /// The event that they relate to.
    pub target: &'a EventId,
    /// Only relations of this type.
    pub rel_type: Option<&'a str>,
    /// Only events of this type.
    pub event_type: Option<&'a str>,
    /// Whether also events that relate to it by others in between, at most
    /// [`MAX_RECURSION_DEPTH`] relations away.
    pub recurse: bool,
}

/// How many relations away an event may be.
///
/// Spec: client-server, "Relationships API": a reaction to an edit of a reply in a thread.
pub const MAX_RECURSION_DEPTH: i64 = 3;

/// Accepted events that relate to an event, with `after < order <= until`, as `history` reads
/// them. What was redacted relates to nothing any more.
#[tracing::instrument(name = "storage.events.related", level = "debug", skip_all)]
pub async fn related(
    db: &mut Connection,
    wanted: RelationQuery<'_>,
    after: HistoryOrder,
    until: HistoryOrder,
    direction: Direction,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    if wanted.recurse {
        return related_recursively(db, wanted, after, until, direction, limit).await;
    }
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

async fn related_recursively(
    db: &mut Connection,
    wanted: RelationQuery<'_>,
    after: HistoryOrder,
    until: HistoryOrder,
    direction: Direction,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    // The types are asked of the events found, not of those on the way to them.
    let rows = fetch_page!(
        db,
        direction,
        limit,
        "JOIN (
            WITH RECURSIVE found AS (
                SELECT l.event_nid, l.rel_type, 1::bigint AS depth FROM relations l
                WHERE l.room_nid = $2 AND l.target_id = $3
                UNION ALL
                SELECT l.event_nid, l.rel_type, f.depth + 1
                FROM found f JOIN events t ON t.event_nid = f.event_nid
                JOIN relations l ON l.room_nid = $2 AND l.target_id = t.event_id
                WHERE f.depth < $8
            )
            SELECT DISTINCT event_nid, rel_type FROM found
         ) l ON l.event_nid = e.event_nid
         WHERE e.history_order > $4 AND e.history_order <= $5
             AND ($6::text IS NULL OR l.rel_type = $6) AND ($7::text IS NULL OR e.event_type = $7)
             AND e.verdict = 0 AND e.redacted_by_nid IS NULL
         ORDER BY e.history_order",
        wanted.room_nid.get(),
        wanted.target.as_str(),
        after.get(),
        until.get(),
        wanted.rel_type,
        wanted.event_type,
        MAX_RECURSION_DEPTH
    )?;
    collect(rows)
}
