//! The graph of events: parents and children.

use ruma::OwnedEventId;
use types::{EventNid, RoomNid};

use crate::{Connection, Error, rows::id};

/// The children of events that are known, as pairs of parent and child, in no order.
pub async fn children(
    db: &mut Connection,
    parents: &[EventNid],
) -> Result<Vec<(EventNid, EventNid)>, Error> {
    let parents: Vec<i64> = parents.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT prev_nid AS "prev_nid!", event_nid FROM event_edges WHERE prev_nid = ANY($1)"#,
        &parents
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (EventNid(row.prev_nid), EventNid(row.event_nid)))
        .collect())
}

/// Where the known history of a room ends: the events in it that name unknown parents, each with
/// such a parent.
pub async fn backward_extremities(
    db: &mut Connection,
    room_nid: RoomNid,
) -> Result<Vec<(EventNid, OwnedEventId)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT d.event_nid, d.prev_event_id AS "prev_event_id!" FROM event_edges d
         JOIN events e ON e.event_nid = d.event_nid
         WHERE d.prev_event_id IS NOT NULL AND e.room_nid = $1 AND e.history_order IS NOT NULL"#,
        room_nid.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| Ok((EventNid(row.event_nid), id(row.prev_event_id)?)))
        .collect()
}
