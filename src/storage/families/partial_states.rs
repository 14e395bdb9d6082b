//! Rooms of whose state parts are not known, and those of which all is from now on.

use super::{Part, family, name_array};
use crate::{Change, Changes, rooms::RoomWrite};

family! {
    "INSERT INTO partial_states AS p (room_nid, join_nids, since, via, servers)
    SELECT r.room_nid, ARRAY[r.join_nid], base + r.ordinal, r.via::text[], r.servers::text[]
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
        AS r (ordinal, room_nid, join_nid, via, servers)
    ON CONFLICT (room_nid) DO UPDATE SET
        join_nids = CASE WHEN p.completed_at IS NULL THEN p.join_nids || excluded.join_nids
            ELSE excluded.join_nids END,
        since = CASE WHEN p.completed_at IS NULL THEN p.since ELSE excluded.since END,
        servers = CASE WHEN p.completed_at IS NULL
            THEN ARRAY(SELECT DISTINCT s FROM UNNEST(p.servers || excluded.servers) AS s)
            ELSE excluded.servers END,
        lease_expires_at = CASE WHEN p.completed_at IS NULL THEN p.lease_expires_at ELSE '-infinity' END,
        via = excluded.via, completed_at = NULL, missed = '{}', failures = 0, retry_at = '-infinity'"
    {
        ordinal: i64,
        room_nid: i64,
        join_nid: i64,
        via: String,
        servers: String,
    }
}

pub(super) fn collect(changes: &Changes, rooms: &[&RoomWrite]) -> Option<Part> {
    let begun = changes
        .numbered()
        .filter_map(|(ordinal, change)| match change {
            Change::PartialState {
                room_nid,
                servers: Some(servers),
            } => Some((ordinal, room_nid, servers)),
            _ => None,
        });
    part(begun.filter_map(|(ordinal, room_nid, servers)| {
        let room = rooms.iter().find(|room| room.room_nid == *room_nid)?;
        let partial = room.partial.as_ref()?;
        Some(Row {
            ordinal,
            room_nid: room_nid.get(),
            join_nid: partial.join_nid.get(),
            via: name_array([&*partial.via]),
            servers: name_array(servers.iter().map(AsRef::as_ref)),
        })
    }))
}

mod completed {
    use super::{Change, Changes, Part, RoomWrite, name_array};
    use crate::families::family;

    family! {
        "UPDATE partial_states p SET completed_at = base + r.ordinal, missed = r.missed::text[]
        FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::text[]) AS r (ordinal, room_nid, missed)
        WHERE p.room_nid = r.room_nid"
        {
            ordinal: i64,
            room_nid: i64,
            missed: String,
        }
    }

    pub(in crate::families) fn collect(changes: &Changes, rooms: &[&RoomWrite]) -> Option<Part> {
        let completed = changes
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::PartialState {
                    room_nid,
                    servers: None,
                } => Some((ordinal, room_nid)),
                _ => None,
            });
        part(completed.filter_map(|(ordinal, room_nid)| {
            let room = rooms.iter().find(|room| room.room_nid == *room_nid)?;
            let recheck = room.recheck.as_ref()?;
            Some(Row {
                ordinal,
                room_nid: room_nid.get(),
                missed: name_array(recheck.missed.iter().map(AsRef::as_ref)),
            })
        }))
    }
}

pub(super) use completed::collect as collect_completed;
