//! Which message events relate to which event.

use types::HistoryOrder;

use super::{Part, family};
use crate::{
    Change, Changes, StoredEvent,
    escape::escape,
    rooms::{Placement, RoomWrite},
};

family! {
    "INSERT INTO relations (room_nid, target_id, history_order, event_nid, rel_type)
    SELECT r.room_nid, r.target_id, COALESCE(r.history_order, (base + r.ordinal) << 20), r.event_nid, r.rel_type
    FROM taken, UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[])
        AS r (room_nid, ordinal, history_order, target_id, event_nid, rel_type)"
    {
        room_nid: i64,
        ordinal: Option<i64>,
        history_order: Option<i64>,
        target_id: String,
        event_nid: i64,
        rel_type: String,
    }
}

pub(super) fn collect(changes: &Changes, rooms: &[&RoomWrite]) -> Option<Part> {
    let appended = changes
        .numbered()
        .filter_map(|(ordinal, change)| match change {
            Change::Event(change) => row(&change.event, Some(ordinal), None),
            _ => None,
        });
    let others = rooms.iter().flat_map(|room| &room.events);
    let others = others.filter_map(|new| match new.placement {
        Placement::History(order) => row(&new.event, None, Some(order)),
        Placement::Timeline | Placement::Outlier => None,
    });
    part(appended.chain(others))
}

fn row(event: &StoredEvent, ordinal: Option<i64>, order: Option<HistoryOrder>) -> Option<Row> {
    let relation = event.pdu.relation()?;
    Some(Row {
        room_nid: event.room_nid.get(),
        ordinal,
        history_order: order.map(HistoryOrder::get),
        target_id: relation.event_id.to_string(),
        event_nid: event.nid.get(),
        rel_type: escape(&relation.rel_type).into_owned(),
    })
}
