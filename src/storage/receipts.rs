//! Read receipts.

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
        "SELECT room_nid, user_id, receipt_type, thread_id, event_id, ts, position
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
                ts: row.ts,
            };
            Ok((StreamPosition(row.position), receipt))
        })
        .collect()
}
