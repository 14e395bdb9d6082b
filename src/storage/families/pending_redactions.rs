//! Redactions that come before what they redact. Of one event the first [`MAX_PENDING`] are kept: whoever
//! may send redactions into a room decides how many there are.

use std::collections::HashMap;

use super::{Part, family};
use crate::rooms::RoomWrite;

/// How many redactions of an event that is not known wait for it.
const MAX_PENDING: i64 = 20;

family! {
    "INSERT INTO pending_redactions (room_nid, target_event_id, redaction_nid)
    SELECT r.room_nid, r.target_event_id, r.redaction_nid
    FROM UNNEST($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
        AS r (room_nid, target_event_id, redaction_nid, free)
    WHERE r.free > (
        SELECT count(*) FROM pending_redactions p
        WHERE p.room_nid = r.room_nid AND p.target_event_id = r.target_event_id
    )
    ON CONFLICT DO NOTHING"
    {
        room_nid: i64,
        target_event_id: String,
        redaction_nid: i64,
        free: i64,
    }
}

pub(super) fn collect(rooms: &[&RoomWrite]) -> Option<Part> {
    // How many of this write come before, for each target.
    let mut before: HashMap<_, i64> = HashMap::new();
    let events = rooms.iter().flat_map(|room| &room.events);
    part(events.filter_map(|new| {
        let target = new.awaits.as_ref()?;
        let before = before.entry((new.event.room_nid, target)).or_default();
        let free = MAX_PENDING - *before;
        *before += 1;
        Some(Row {
            room_nid: new.event.room_nid.get(),
            target_event_id: target.to_string(),
            redaction_nid: new.event.nid.get(),
            free,
        })
    }))
}

/// Redactions whose targets have come.
mod applied {
    use crate::families::family;

    family! {
        "DELETE FROM pending_redactions p USING UNNEST($1::bigint[], $2::text[]) AS r (room_nid, event_id)
        WHERE p.room_nid = r.room_nid AND p.target_event_id = r.event_id"
        {
            room_nid: i64,
            event_id: String,
        }
    }

    pub(in crate::families) fn collect(rooms: &[&crate::rooms::RoomWrite]) -> Option<super::Part> {
        let events = rooms.iter().flat_map(|room| &room.events);
        part(
            (events.filter(|new| new.original.is_some())).map(|new| Row {
                room_nid: new.event.room_nid.get(),
                event_id: new.event.pdu.event_id().to_string(),
            }),
        )
    }
}

pub(super) use applied::collect as collect_applied;
