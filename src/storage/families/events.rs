//! Events: what is appended to the timeline, filled into the history, or known as an outlier only.
//! An outlier may get its place later.

use types::{HistoryOrder, SnapshotNid};

use super::{Part, array, family};
use crate::{
    Change, Changes, StoredEvent,
    escape::escape,
    rooms::{Placement, RoomWrite},
};

family! {
    "INSERT INTO events (event_nid, room_nid, event_id, position, history_order, depth, event_type, state_key,
        sender, origin_server_ts, verdict, snapshot_nid, replaces_nid, redacted_by_nid, auth_nids, after_gap, json)
    SELECT r.event_nid, r.room_nid, r.event_id, base + r.ordinal,
        COALESCE(r.history_order, (base + r.ordinal) << 20), r.depth, r.event_type, r.state_key,
        r.sender, r.origin_server_ts, r.verdict, r.snapshot_nid, r.replaces_nid,
        (SELECT event_nid FROM events WHERE event_id = r.redaction_id), r.auth_nids::bigint[], r.after_gap, r.json
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[],
        $7::text[], $8::text[], $9::text[], $10::bigint[], $11::smallint[], $12::bigint[], $13::bigint[],
        $14::text[], $15::text[], $16::boolean[], $17::text[])
        AS r (event_nid, ordinal, room_nid, event_id, history_order, depth,
        event_type, state_key, sender, origin_server_ts, verdict, snapshot_nid, replaces_nid,
        redaction_id, auth_nids, after_gap, json)
    ON CONFLICT (event_nid) DO UPDATE SET position = excluded.position, history_order = excluded.history_order,
        verdict = excluded.verdict, snapshot_nid = excluded.snapshot_nid, replaces_nid = excluded.replaces_nid, after_gap = excluded.after_gap,
        redacted_by_nid = COALESCE(excluded.redacted_by_nid, events.redacted_by_nid),
        json = CASE WHEN excluded.redacted_by_nid IS NULL THEN events.json ELSE excluded.json END
    WHERE events.history_order IS NULL"
    {
        event_nid: i64,
        ordinal: Option<i64>,
        room_nid: i64,
        event_id: String,
        history_order: Option<i64>,
        depth: i64,
        event_type: String,
        state_key: Option<String>,
        sender: String,
        origin_server_ts: i64,
        verdict: i16,
        snapshot_nid: Option<i64>,
        replaces_nid: Option<i64>,
        redaction_id: Option<String>,
        auth_nids: String,
        after_gap: bool,
        json: String,
    }
}

pub(super) fn collect(changes: &Changes, rooms: &[&RoomWrite]) -> Option<Part> {
    let appended = changes
        .events()
        .map(|(ordinal, event)| row(event, Some(ordinal), None));
    let others = rooms.iter().flat_map(|room| &room.events);
    let others = others.filter_map(|new| match new.placement {
        Placement::Timeline => None,
        Placement::History(order) => Some(row(&new.event, None, Some(order))),
        Placement::Outlier => Some(row(&new.event, None, None)),
    });
    part(appended.chain(others))
}

fn row(event: &StoredEvent, ordinal: Option<i64>, order: Option<HistoryOrder>) -> Row {
    let pdu = &event.pdu;
    Row {
        event_nid: event.nid.get(),
        ordinal,
        room_nid: event.room_nid.get(),
        event_id: pdu.event_id().to_string(),
        history_order: order.map(HistoryOrder::get),
        depth: pdu.depth() as i64,
        event_type: escape(pdu.event_type()).into_owned(),
        state_key: pdu.state_key().map(|key| escape(key).into_owned()),
        sender: escape(pdu.sender().as_str()).into_owned(),
        origin_server_ts: i64::from(pdu.origin_server_ts().0),
        verdict: crate::events::verdict_number(pdu.verdict()),
        snapshot_nid: event.snapshot_nid.map(SnapshotNid::get),
        replaces_nid: event.replaces.as_ref().map(|replaced| replaced.nid.get()),
        redaction_id: (event.redacted_because.as_ref())
            .map(|redaction| redaction.event_id().to_string()),
        auth_nids: array(event.auth_nids.iter().map(|nid| nid.get())),
        after_gap: event.after_gap,
        json: pdu.json().to_owned(),
    }
}

impl Changes {
    /// The events that take positions, with their offsets from the base position.
    fn events(&self) -> impl Iterator<Item = (i64, &StoredEvent)> {
        self.numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::Event(change) => Some((ordinal, &change.event)),
                _ => None,
            })
    }
}
