//! What is returned with the events of timelines of the events that relate to them.

use std::collections::HashMap;

use live::{Aggregations, ChildFilter, UserVisibility};
use ruma::UserId;
use storage::StoredEvent;
use types::{EventNid, HistoryOrder, RoomNid};

use crate::{
    Error,
    context::SyncContext,
    updates::{RoomChange, RoomUpdate, TimelineUpdate},
};

/// Those of all timelines: no query unless something relates to an event of them.
pub(super) async fn of_timelines(
    context: &SyncContext<'_>,
    rooms: &[RoomUpdate<'_>],
) -> Result<Aggregations, Error> {
    let timelines: Vec<&TimelineUpdate> = rooms.iter().filter_map(timeline).collect();
    let events = timelines.iter().flat_map(|timeline| &timeline.events);
    let events = events.map(|timeline_event| timeline_event.event());
    let related: Vec<&StoredEvent> = events.filter(|event| event.has_relations).collect();
    if related.is_empty() {
        return Ok(Aggregations::default());
    }
    let visibilities: HashMap<RoomNid, &UserVisibility> = timelines
        .iter()
        .filter_map(|timeline| {
            let first = timeline.events.first()?;
            Some((first.event().room_nid, timeline.visibility.as_ref()?))
        })
        .collect();
    let sees = |room_nid: RoomNid, event: EventNid, order: HistoryOrder| {
        // Without one the user was joined all the time.
        let visibility = visibilities.get(&room_nid);
        visibility.is_none_or(|visibility| visibility.is_visible_at(event, Some(order)))
    };
    let filter = ChildFilter {
        user_id: context.user_id,
        ignores: &|user_id: &UserId| context.view.user.ignores(user_id),
        sees: &sees,
    };
    let mut db = context.database.acquire().await?;
    Ok(Aggregations::load(&mut db, related, filter).await?)
}

fn timeline<'a>(room: &'a RoomUpdate<'_>) -> Option<&'a TimelineUpdate> {
    match &room.change {
        RoomChange::Joined(room) => Some(&room.timeline),
        RoomChange::Left(room) => Some(&room.timeline),
        RoomChange::AccountData(_) | RoomChange::Invited(_) | RoomChange::Knocked(_) => None,
    }
}
