//! The parents of events.

use types::EventNid;

use super::{Part, family};
use crate::rooms::RoomWrite;

family! {
    "INSERT INTO event_edges (event_nid, prev_nid, prev_event_id, gap_room_nid)
    SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])"
    {
        event_nid: i64,
        prev_nid: Option<i64>,
        prev_event_id: Option<String>,
        gap_room_nid: Option<i64>,
    }
}

pub(super) fn collect(rooms: &[&RoomWrite]) -> Option<Part> {
    let events = rooms.iter().flat_map(|room| &room.events);
    part(events.flat_map(|new| {
        new.parents.iter().map(|parent| Row {
            event_nid: new.event.nid.get(),
            prev_nid: parent.nid.map(EventNid::get),
            prev_event_id: match parent.nid {
                Some(_) => None,
                None => Some(parent.event_id.to_string()),
            },
            gap_room_nid: match parent.nid {
                Some(_) => None,
                None => Some(new.event.room_nid.get()),
            },
        })
    }))
}

/// Events that earlier ones name as parents which were not known.
mod found {
    use crate::families::family;

    family! {
        "UPDATE event_edges e SET prev_nid = r.event_nid, prev_event_id = NULL, gap_room_nid = NULL
        FROM UNNEST($1::bigint[], $2::text[]) AS r (event_nid, event_id)
        WHERE e.prev_event_id = r.event_id"
        {
            event_nid: i64,
            event_id: String,
        }
    }

    pub(in crate::families) fn collect(rooms: &[&crate::rooms::RoomWrite]) -> Option<super::Part> {
        let events = rooms.iter().flat_map(|room| &room.events);
        part(events.filter(|new| new.may_be_missed).map(|new| Row {
            event_nid: new.event.nid.get(),
            event_id: new.event.pdu.event_id().to_string(),
        }))
    }
}

pub(super) use found::collect as collect_found;
