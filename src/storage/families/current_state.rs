//! The current state of rooms: it follows the deltas.

use super::{Part, family};
use crate::{Changes, escape::escape, stream::deduplicate};

family! {
    "INSERT INTO current_state (room_nid, event_type, state_key, state_key_nid, event_nid)
    SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
    ON CONFLICT (room_nid, event_type, state_key) DO UPDATE SET event_nid = excluded.event_nid"
    {
        room_nid: i64,
        event_type: String,
        state_key: String,
        state_key_nid: i64,
        event_nid: i64,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    // Of several changes of a key the last one counts.
    let changes = deduplicate(
        changes
            .state_changes()
            .map(|(_, room_nid, change)| ((room_nid, change.key), (room_nid, change))),
    );
    part(changes.into_iter().filter_map(|(room_nid, change)| {
        let event = change.to.as_ref()?;
        Some(Row {
            room_nid: room_nid.get(),
            event_type: escape(event.pdu.event_type()).into_owned(),
            state_key: escape(event.pdu.state_key()?).into_owned(),
            state_key_nid: change.key.get(),
            event_nid: event.nid.get(),
        })
    }))
}

/// Keys that have no event any more.
mod removed {
    use super::{Changes, Part, deduplicate, escape};
    use crate::families::family;

    family! {
        "DELETE FROM current_state c USING UNNEST($1::bigint[], $2::text[], $3::text[])
            AS r (room_nid, event_type, state_key)
        WHERE c.room_nid = r.room_nid AND c.event_type = r.event_type AND c.state_key = r.state_key"
        {
            room_nid: i64,
            event_type: String,
            state_key: String,
        }
    }

    pub(in crate::families) fn collect(changes: &Changes) -> Option<Part> {
        let changes = deduplicate(
            changes
                .state_changes()
                .map(|(_, room_nid, change)| ((room_nid, change.key), (room_nid, change))),
        );
        part(changes.into_iter().filter_map(|(room_nid, change)| {
            let gone = change.from.as_ref().filter(|_| change.to.is_none())?;
            Some(Row {
                room_nid: room_nid.get(),
                event_type: escape(gone.pdu.event_type()).into_owned(),
                state_key: escape(gone.pdu.state_key()?).into_owned(),
            })
        }))
    }
}

pub(super) use removed::collect as collect_removed;
