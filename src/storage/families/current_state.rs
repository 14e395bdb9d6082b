//! The current state of rooms: state events take the place of those that they replace.

use super::{Part, family};
use crate::{Change, Changes, stream::deduplicate};

family! {
    "INSERT INTO current_state (room_nid, event_type, state_key, event_nid)
    SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::bigint[])
    ON CONFLICT (room_nid, event_type, state_key) DO UPDATE SET event_nid = excluded.event_nid"
    {
        room_nid: i64,
        event_type: String,
        state_key: String,
        event_nid: i64,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let rows = changes.numbered().filter_map(|(_, change)| {
        let Change::Event(change) = change else {
            return None;
        };
        let event = change.current.then_some(&change.event)?;
        let (event_type, state_key) = (event.pdu.event_type(), event.pdu.state_key()?);
        let row = Row {
            room_nid: event.room_nid.get(),
            event_type: event_type.to_owned(),
            state_key: state_key.to_owned(),
            event_nid: event.nid.get(),
        };
        Some(((event.room_nid, event_type, state_key), row))
    });
    part(deduplicate(rows))
}
