//! Which message events relate to which event.

use super::{Part, family};
use crate::{Change, Changes};

family! {
    "INSERT INTO relations (room_nid, target_id, position, event_nid, rel_type)
    SELECT r.room_nid, r.target_id, base + r.ordinal, r.event_nid, r.rel_type
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
        AS r (ordinal, room_nid, target_id, event_nid, rel_type)"
    {
        ordinal: i64,
        room_nid: i64,
        target_id: String,
        event_nid: i64,
        rel_type: String,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    part(changes.numbered().filter_map(|(ordinal, change)| {
        let Change::Event(change) = change else {
            return None;
        };
        let relation = change.event.pdu.relation()?;
        Some(Row {
            ordinal,
            room_nid: change.event.room_nid.get(),
            target_id: relation.event_id.to_string(),
            event_nid: change.event.nid.get(),
            rel_type: relation.rel_type,
        })
    }))
}
