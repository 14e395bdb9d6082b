//! The newest events of many rooms.

use types::{HistoryOrder, RoomNid};

use super::{Row, StoredEvent, collect};
use crate::{Connection, Error};

/// The newest accepted events of rooms before a place, newest first: of each room those after its own
/// place, of all rooms together at most `limit`. What was filled into gaps later is left out.
#[tracing::instrument(name = "storage.events.newest", level = "debug", skip_all)]
pub async fn newest(
    db: &mut Connection,
    rooms: &[(RoomNid, HistoryOrder)],
    before: HistoryOrder,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    let room_nids: Vec<i64> = rooms.iter().map(|(room_nid, _)| room_nid.get()).collect();
    let after: Vec<i64> = rooms.iter().map(|(_, after)| after.get()).collect();
    // Of each room as many are looked up in the index as there may be of all; only the newest are read.
    let rows = select_events!(
        "WHERE e.event_nid IN (
            SELECT c.event_nid FROM UNNEST($1::bigint[], $2::bigint[]) AS w (room_nid, after)
            CROSS JOIN LATERAL (
                SELECT event_nid, history_order FROM events
                WHERE room_nid = w.room_nid AND history_order > w.after AND history_order < $3
                    AND verdict = 0 AND position IS NOT NULL
                ORDER BY history_order DESC LIMIT $4
            ) c
            ORDER BY c.history_order DESC LIMIT $4
         )
         ORDER BY e.history_order DESC",
        &room_nids,
        &after,
        before.get(),
        limit
    )
    .fetch_all(db)
    .await?;
    collect(rows)
}
