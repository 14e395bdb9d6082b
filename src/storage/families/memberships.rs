//! The memberships of users in rooms, as the current state has them.

use super::{Part, family};
use crate::{Change, Changes, stream::deduplicate};

family! {
    "INSERT INTO memberships (room_nid, user_id, membership, event_nid, position)
    SELECT r.room_nid, r.user_id, r.membership, r.event_nid, base + r.ordinal
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
        AS r (ordinal, room_nid, user_id, membership, event_nid)
    ON CONFLICT (room_nid, user_id) DO UPDATE SET membership = excluded.membership,
        event_nid = excluded.event_nid, forgotten = false,
        position = CASE WHEN memberships.membership = 'join' AND excluded.membership = 'join'
            THEN memberships.position ELSE excluded.position END"
    {
        ordinal: i64,
        room_nid: i64,
        user_id: String,
        membership: String,
        event_nid: i64,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let rows = changes.numbered().filter_map(|(ordinal, change)| {
        let Change::Event(change) = change else {
            return None;
        };
        let event = change.current.then_some(&change.event)?;
        let user_id = event.pdu.state_key()?;
        let row = Row {
            ordinal,
            room_nid: event.room_nid.get(),
            user_id: user_id.to_owned(),
            membership: event.pdu.membership()?.to_string(),
            event_nid: event.nid.get(),
        };
        Some(((event.room_nid, user_id), row))
    });
    part(deduplicate(rows))
}
