//! Events filled into the history that are to be made searchable: the follower that does so finds them
//! here, since they have no place in the stream.

use super::{Part, family};
use crate::{
    rooms::{Placement, RoomWrite},
    search::EVENT_TYPES,
};

family! {
    "INSERT INTO search_backlog (event_nid) SELECT r.event_nid FROM UNNEST($1::bigint[]) AS r (event_nid)
    ON CONFLICT (event_nid) DO NOTHING"
    {
        event_nid: i64,
    }
}

pub(super) fn collect(rooms: &[&RoomWrite]) -> Option<Part> {
    let events = rooms.iter().flat_map(|room| &room.events);
    let filled = events.filter(|new| matches!(new.placement, Placement::History(_)));
    let searched = filled
        .filter(|new| new.event.is_accepted() && EVENT_TYPES.contains(&new.event.pdu.event_type()));
    part(searched.map(|new| Row {
        event_nid: new.event.nid.get(),
    }))
}
