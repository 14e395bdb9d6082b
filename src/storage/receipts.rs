//! Read receipts.

use std::collections::HashMap;

use ruma::{EventId, OwnedEventId, UserId};
use types::{HistoryOrder, RoomNid, StreamPosition};

use crate::{
    Connection, Error,
    rows::id,
    stream::{Receipt, receipt},
};

/// The receipts of each room that changed after `from`, with their positions.
pub async fn since(
    db: &mut Connection,
    room_nids: &[RoomNid],
    from: StreamPosition,
) -> Result<Vec<(StreamPosition, Receipt)>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        "SELECT room_nid, user_id, receipt_type, thread_id, event_id, event_order, ts, position
         FROM receipts WHERE room_nid = ANY($1) AND position > $2 ORDER BY position",
        &room_nids,
        from.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| Ok((StreamPosition(row.position), receipt!(row))))
        .collect()
}

/// Where those of the events stand that are part of the room's history.
pub async fn orders(
    db: &mut Connection,
    room_nid: RoomNid,
    event_ids: &[&EventId],
) -> Result<HashMap<OwnedEventId, HistoryOrder>, Error> {
    let event_ids: Vec<&str> = event_ids.iter().map(|event_id| event_id.as_str()).collect();
    let rows = sqlx::query!(
        r#"SELECT event_id, history_order AS "history_order!" FROM events
         WHERE event_id = ANY($1) AND room_nid = $2 AND history_order IS NOT NULL"#,
        &event_ids as &[&str],
        room_nid.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| Ok((id(row.event_id)?, HistoryOrder(row.history_order))))
        .collect()
}

/// The types and threads of a user's receipts in a room that stand at `order` or after it.
pub async fn at_or_after(
    db: &mut Connection,
    room_nid: RoomNid,
    user_id: &UserId,
    order: HistoryOrder,
) -> Result<Vec<(String, String, HistoryOrder)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT receipt_type, thread_id, event_order AS "event_order!" FROM receipts
         WHERE room_nid = $1 AND user_id = $2 AND event_order >= $3"#,
        room_nid.get(),
        user_id.as_str(),
        order.get()
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (
                row.receipt_type,
                row.thread_id,
                HistoryOrder(row.event_order),
            )
        })
        .collect())
}
