//! The snapshots that state events make.

use types::SnapshotNid;

use super::{Part, array, family};
use crate::rooms::RoomWrite;

family! {
    "INSERT INTO snapshots (snapshot_nid, room_nid, parent_nid, depth, event_nids)
    SELECT r.nid, r.room_nid, r.parent, r.depth, r.events::bigint[]
    FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::text[])
        AS r (nid, room_nid, parent, depth, events)"
    {
        snapshot_nid: i64,
        room_nid: i64,
        parent_nid: Option<i64>,
        depth: i16,
        event_nids: String,
    }
}

pub(super) fn collect(rooms: &[&RoomWrite]) -> Option<Part> {
    part(rooms.iter().flat_map(|room| {
        room.snapshots.iter().map(|snapshot| Row {
            snapshot_nid: snapshot.nid.get(),
            room_nid: room.room_nid.get(),
            parent_nid: snapshot.parent.map(SnapshotNid::get),
            depth: snapshot.depth,
            event_nids: array(&snapshot.events),
        })
    }))
}
