//! Read receipts.

use std::collections::HashMap;

use ruma::{EventId, OwnedEventId, UserId};
use types::{RoomNid, StreamPosition};

use crate::{Connection, Error, rows::id, stream::Receipt};

/// The receipts of each room that changed after `from`, with their positions.
pub async fn since(
    db: &mut Connection,
    room_nids: &[RoomNid],
    from: StreamPosition,
) -> Result<Vec<(StreamPosition, Receipt)>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        "SELECT room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts, position
         FROM receipts WHERE room_nid = ANY($1) AND position > $2 ORDER BY position",
        &room_nids,
        from.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let receipt = Receipt {
                room_nid: RoomNid(row.room_nid),
                user_id: id(row.user_id)?,
                receipt_type: row.receipt_type,
                thread_id: row.thread_id,
                event_id: id(row.event_id)?,
                event_position: StreamPosition(row.event_position),
                ts: row.ts,
            };
            Ok((StreamPosition(row.position), receipt))
        })
        .collect()
}

/// The stream positions of those of the events that are known in the room; 0 for events outside the
/// timeline.
pub async fn positions(
    db: &mut Connection,
    room_nid: RoomNid,
    event_ids: &[&EventId],
) -> Result<HashMap<OwnedEventId, StreamPosition>, Error> {
    let event_ids: Vec<&str> = event_ids.iter().map(|event_id| event_id.as_str()).collect();
    let rows = sqlx::query!(
        "SELECT event_id, position FROM events WHERE event_id = ANY($1) AND room_nid = $2",
        &event_ids as &[&str],
        room_nid.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let position = StreamPosition(row.position.unwrap_or_default());
            Ok((id(row.event_id)?, position))
        })
        .collect()
}

/// Type, thread and event position of a user's receipts in a room at or after `position`.
pub async fn at_or_after(
    db: &mut Connection,
    room_nid: RoomNid,
    user_id: &UserId,
    position: StreamPosition,
) -> Result<Vec<(String, String, StreamPosition)>, Error> {
    let rows = sqlx::query!(
        "SELECT receipt_type, thread_id, event_position FROM receipts
         WHERE room_nid = $1 AND user_id = $2 AND event_position >= $3",
        room_nid.get(),
        user_id.as_str(),
        position.get()
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let position = StreamPosition(row.event_position);
            (row.receipt_type, row.thread_id, position)
        })
        .collect())
}
