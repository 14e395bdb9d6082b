//! Redactions that come before what they redact.

use super::{Part, family};
use crate::rooms::RoomWrite;

family! {
    "INSERT INTO pending_redactions (target_event_id, redaction_nid)
    SELECT * FROM UNNEST($1::text[], $2::bigint[]) ON CONFLICT DO NOTHING"
    {
        target_event_id: String,
        redaction_nid: i64,
    }
}

pub(super) fn collect(rooms: &[&RoomWrite]) -> Option<Part> {
    let events = rooms.iter().flat_map(|room| &room.events);
    part(events.filter_map(|new| {
        Some(Row {
            target_event_id: new.awaits.as_ref()?.to_string(),
            redaction_nid: new.event.nid.get(),
        })
    }))
}

/// Redactions whose targets have come.
mod applied {
    use crate::families::family;

    family! {
        "DELETE FROM pending_redactions p USING UNNEST($1::text[]) AS r (event_id)
        WHERE p.target_event_id = r.event_id"
        {
            event_id: String,
        }
    }

    pub(in crate::families) fn collect(rooms: &[&crate::rooms::RoomWrite]) -> Option<super::Part> {
        let events = rooms.iter().flat_map(|room| &room.events);
        part(
            (events.filter(|new| new.original.is_some())).map(|new| Row {
                event_id: new.event.pdu.event_id().to_string(),
            }),
        )
    }
}

pub(super) use applied::collect as collect_applied;
