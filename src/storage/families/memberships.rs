//! The memberships of users in rooms: they follow the deltas of the current state.

use types::RoomNid;

use super::{Part, family};
use crate::{
    Changes,
    escape::escape,
    stream::{StateChange, deduplicate},
};

family! {
    "INSERT INTO memberships (room_nid, user_id, membership, sender, event_nid, position)
    SELECT r.room_nid, r.user_id, r.membership, r.sender, r.event_nid, base + r.ordinal
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[])
        AS r (ordinal, room_nid, user_id, membership, sender, event_nid)
    ON CONFLICT (room_nid, user_id) DO UPDATE SET membership = excluded.membership,
        sender = excluded.sender, event_nid = excluded.event_nid, forgotten = false,
        position = CASE WHEN memberships.membership = 'join' AND excluded.membership = 'join'
            THEN memberships.position ELSE excluded.position END"
    {
        ordinal: i64,
        room_nid: i64,
        user_id: String,
        membership: String,
        sender: String,
        event_nid: i64,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    let members = members(changes).into_iter();
    part(members.filter_map(|(ordinal, room_nid, change)| {
        let event = change.to.as_ref()?;
        Some(Row {
            ordinal,
            room_nid: room_nid.get(),
            user_id: escape(event.pdu.state_key()?).into_owned(),
            membership: escape(event.pdu.membership()?.as_str()).into_owned(),
            sender: escape(event.pdu.sender().as_str()).into_owned(),
            event_nid: event.nid.get(),
        })
    }))
}

/// The last change of each member.
fn members(changes: &Changes) -> Vec<(i64, RoomNid, &StateChange)> {
    let members = changes.state_changes().filter(|(_, _, change)| {
        let event = change.to.as_ref().or(change.from.as_ref());
        event.is_some_and(|event| event.pdu.event_type() == "m.room.member")
    });
    deduplicate(members.map(|member| ((member.1, member.2.key), member)))
}

/// Members whose key has no event any more.
mod removed {
    use super::{Changes, Part, escape, members};
    use crate::families::family;

    family! {
        "DELETE FROM memberships m USING UNNEST($1::bigint[], $2::text[]) AS r (room_nid, user_id)
        WHERE m.room_nid = r.room_nid AND m.user_id = r.user_id"
        {
            room_nid: i64,
            user_id: String,
        }
    }

    pub(in crate::families) fn collect(changes: &Changes) -> Option<Part> {
        let members = members(changes).into_iter();
        part(members.filter_map(|(_, room_nid, change)| {
            let gone = change.from.as_ref().filter(|_| change.to.is_none())?;
            Some(Row {
                room_nid: room_nid.get(),
                user_id: escape(gone.pdu.state_key()?).into_owned(),
            })
        }))
    }
}

pub(super) use removed::collect as collect_removed;
