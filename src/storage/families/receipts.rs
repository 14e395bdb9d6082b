//! How far users have read.

use types::HistoryOrder;

use super::{Part, family};
use crate::{Change, Changes, stream::deduplicate};

family! {
    "INSERT INTO receipts (room_nid, user_id, receipt_type, thread_id, event_id, event_order, ts, position)
    SELECT r.room_nid, r.user_id, r.receipt_type, r.thread_id, r.event_id, r.event_order, r.ts,
        base + r.ordinal
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::bigint[], $8::bigint[])
        AS r (ordinal, room_nid, user_id, receipt_type, thread_id, event_id, event_order, ts)
    ON CONFLICT (room_nid, user_id, receipt_type, thread_id) DO UPDATE SET
        event_id = excluded.event_id, event_order = excluded.event_order,
        ts = excluded.ts, position = excluded.position
        WHERE receipts.event_order IS NULL OR receipts.event_order <= excluded.event_order"
    {
        ordinal: i64,
        room_nid: i64,
        user_id: String,
        receipt_type: String,
        thread_id: String,
        event_id: String,
        event_order: Option<i64>,
        ts: i64,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let mut rows: Vec<_> = changes
        .numbered()
        .filter_map(|(ordinal, change)| {
            let Change::Receipt(receipt) = change else {
                return None;
            };
            let key = (
                receipt.room_nid,
                &receipt.user_id,
                &receipt.receipt_type,
                &receipt.thread_id,
            );
            let row = Row {
                ordinal,
                room_nid: receipt.room_nid.get(),
                user_id: receipt.user_id.to_string(),
                receipt_type: receipt.receipt_type.clone(),
                thread_id: receipt.thread_id.clone(),
                event_id: receipt.event_id.to_string(),
                event_order: receipt.event_order.map(HistoryOrder::get),
                ts: receipt.ts,
            };
            Some((key, row))
        })
        .collect();
    // The one that is furthest ahead is written, whichever came last.
    rows.sort_by_key(|(_, row)| row.event_order);
    part(deduplicate(rows.into_iter()))
}
