//! The client transactions that sent events.

use super::{Part, family};
use crate::rooms::RoomWrite;

family! {
    "INSERT INTO event_transactions (user_id, device_id, room_nid, event_type, transaction_id, event_nid, sent_ts)
    SELECT r.* FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
        AS r (user_id, device_id, room_nid, event_type, transaction_id, event_nid, sent_ts)
    WHERE r.device_id = '' OR EXISTS (SELECT FROM devices d WHERE d.user_id = r.user_id AND d.device_id = r.device_id)"
    {
        user_id: String,
        device_id: String,
        room_nid: i64,
        event_type: String,
        transaction_id: String,
        event_nid: i64,
        sent_ts: i64,
    }
}

/// A device that is gone meanwhile repeats nothing: its transaction is not kept. Transactions without
/// a device are kept until they expire.
pub(super) fn collect(rooms: &[&RoomWrite]) -> Option<Part> {
    let events = rooms.iter().flat_map(|room| &room.events);
    part(events.filter_map(|new| {
        let pdu = &new.event.pdu;
        let transaction = new.event.transaction.as_ref()?;
        Some(Row {
            user_id: pdu.sender().to_string(),
            device_id: transaction.device_column(),
            room_nid: new.event.room_nid.get(),
            event_type: pdu.event_type().to_owned(),
            transaction_id: transaction.key(pdu.event_type()),
            event_nid: new.event.nid.get(),
            sent_ts: i64::from(pdu.origin_server_ts().0),
        })
    }))
}
