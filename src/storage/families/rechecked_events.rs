//! Events that are judged once more, by a state that was not known before.

use types::EventNid;

use super::{Part, family};
use crate::rooms::RoomWrite;

family! {
    "UPDATE events e SET verdict = r.verdict, snapshot_nid = r.snapshot_nid, replaces_nid = r.replaces_nid
    FROM UNNEST($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[])
        AS r (event_nid, verdict, snapshot_nid, replaces_nid)
    WHERE e.event_nid = r.event_nid"
    {
        event_nid: i64,
        verdict: i16,
        snapshot_nid: i64,
        replaces_nid: Option<i64>,
    }
}

pub(super) fn collect(rooms: &[&RoomWrite]) -> Option<Part> {
    let rechecks = rooms.iter().filter_map(|room| room.recheck.as_ref());
    part(
        rechecks
            .flat_map(|recheck| &recheck.events)
            .map(|event| Row {
                event_nid: event.nid.get(),
                verdict: crate::events::verdict_number(event.verdict),
                snapshot_nid: event.snapshot_nid.get(),
                replaces_nid: event.replaces_nid.map(EventNid::get),
            }),
    )
}
