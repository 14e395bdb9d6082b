//! Events, appended to the stream.

use super::{Part, array, family};
use crate::{Change, Changes};

family! {
    "INSERT INTO events (event_nid, room_nid, event_id, position, depth, event_type, state_key, sender,
        origin_server_ts, verdict, snapshot_nid, replaces_nid, prev_nids, auth_nids,
        transaction_device, transaction_id, json)
    SELECT r.event_nid, r.room_nid, r.event_id, base + r.ordinal, r.depth, r.event_type, r.state_key, r.sender,
        r.origin_server_ts, r.verdict, r.snapshot_nid, r.replaces_nid, r.prev_nids::bigint[],
        r.auth_nids::bigint[], r.transaction_device, r.transaction_id, r.json
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[],
        $7::text[], $8::text[], $9::bigint[], $10::smallint[], $11::bigint[], $12::bigint[],
        $13::text[], $14::text[], $15::text[], $16::text[], $17::text[])
        AS r (ordinal, event_nid, room_nid, event_id, depth, event_type, state_key, sender,
        origin_server_ts, verdict, snapshot_nid, replaces_nid, prev_nids, auth_nids,
        transaction_device, transaction_id, json)"
    {
        ordinal: i64,
        event_nid: i64,
        room_nid: i64,
        event_id: String,
        depth: i64,
        event_type: String,
        state_key: Option<String>,
        sender: String,
        origin_server_ts: i64,
        verdict: i16,
        snapshot_nid: i64,
        replaces_nid: Option<i64>,
        prev_nids: String,
        auth_nids: String,
        transaction_device: Option<String>,
        transaction_id: Option<String>,
        json: String,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    part(changes.numbered().filter_map(|(ordinal, change)| {
        let Change::Event(change) = change else {
            return None;
        };
        let (event, pdu) = (&change.event, &change.event.pdu);
        let transaction = event.transaction.as_ref();
        Some(Row {
            ordinal,
            event_nid: event.nid.get(),
            room_nid: event.room_nid.get(),
            event_id: pdu.event_id().to_string(),
            depth: pdu.depth() as i64,
            event_type: pdu.event_type().to_owned(),
            state_key: pdu.state_key().map(ToOwned::to_owned),
            sender: pdu.sender().to_string(),
            origin_server_ts: i64::from(pdu.origin_server_ts().0),
            verdict: event.verdict.number(),
            snapshot_nid: event.snapshot_nid.get(),
            replaces_nid: event.replaces.as_ref().map(|replaced| replaced.nid.get()),
            prev_nids: array(&event.prev_nids),
            auth_nids: array(&event.auth_nids),
            transaction_device: transaction.map(|transaction| transaction.device_id.to_string()),
            transaction_id: transaction.map(|transaction| transaction.key(pdu.event_type())),
            json: pdu.json().to_owned(),
        })
    }))
}
