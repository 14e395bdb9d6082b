//! What changed in the current state of rooms.

use types::EventNid;

use super::{Part, family};
use crate::{Change, Changes, stream::StateChange};

family! {
    "INSERT INTO state_deltas (room_nid, position, state_key_nid, event_nid, previous_nid)
    SELECT r.room_nid, base + r.ordinal, r.state_key_nid, r.event_nid, r.previous_nid
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
        AS r (room_nid, ordinal, state_key_nid, event_nid, previous_nid)"
    {
        room_nid: i64,
        ordinal: i64,
        state_key_nid: i64,
        event_nid: Option<i64>,
        previous_nid: Option<i64>,
    }
}

pub(super) fn collect(changes: &Changes) -> Option<Part> {
    part(changes.state_changes().map(|(ordinal, room_nid, change)| {
        let nid = |event: &Option<crate::stream::StateEvent>| {
            event.as_ref().map(|event| EventNid::get(event.nid))
        };
        Row {
            room_nid: room_nid.get(),
            ordinal,
            state_key_nid: change.key.get(),
            event_nid: nid(&change.to),
            previous_nid: nid(&change.from),
        }
    }))
}

impl Changes {
    /// The changes of state with the offsets of their deltas from the base position.
    pub(super) fn state_changes(
        &self,
    ) -> impl Iterator<Item = (i64, types::RoomNid, &StateChange)> {
        let deltas = self
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::State(delta) => Some((ordinal, delta)),
                _ => None,
            });
        deltas.flat_map(|(ordinal, delta)| {
            let changes = delta.changes.iter();
            changes.map(move |change| (ordinal, delta.room_nid, change))
        })
    }
}
