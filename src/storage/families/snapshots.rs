//! The snapshots that changes of state make.

use types::SnapshotNid;

use super::{Part, array, family};
use crate::rooms::RoomWrite;

family! {
    "INSERT INTO snapshots (snapshot_nid, room_nid, parent_nid, depth, key_nids, event_nids, digest)
    SELECT r.nid, r.room_nid, r.parent, r.depth, r.keys::bigint[], r.events::bigint[], r.digest
    FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::text[], $6::text[], $7::bytea[])
        AS r (nid, room_nid, parent, depth, keys, events, digest)"
    {
        snapshot_nid: i64,
        room_nid: i64,
        parent_nid: Option<i64>,
        depth: i16,
        key_nids: String,
        event_nids: String,
        digest: Vec<u8>,
    }
}

pub(super) fn collect(rooms: &[&RoomWrite]) -> Option<Part> {
    part(rooms.iter().flat_map(|room| {
        room.snapshots.iter().map(|snapshot| {
            let (keys, events) = snapshot.columns();
            Row {
                snapshot_nid: snapshot.nid.get(),
                room_nid: room.room_nid.get(),
                parent_nid: snapshot.parent.map(SnapshotNid::get),
                depth: snapshot.depth,
                key_nids: array(keys),
                event_nids: array(events),
                digest: snapshot.digest.to_bytes().to_vec(),
            }
        })
    }))
}
