//! What clients are told of rooms besides their updates: how recent they are, and how much is new.

use std::{collections::HashMap, sync::Arc};

use live::{Room, TimelineEvent};
use storage::room_overviews;
use types::{RoomNid, StreamPosition};

use super::plan::{Plans, RoomPlan};
use crate::{
    Error,
    context::SyncContext,
    updates::{JoinedRoom, RoomChange, SyncUpdates, TimelineUpdate},
};

/// The types of events that make a room more recent.
///
/// Spec: MSC4186, "Common fields"; and how clients name some of them so far.
const BUMP_TYPES: [&str; 9] = [
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "org.matrix.msc3381.poll.start",
    "m.beacon_info",
    "org.matrix.msc3672.beacon_info",
];

/// Among how many of the last events of a room such an event is looked for.
const MAX_SEARCHED: i64 = 1_000;

/// What is told of a room besides its update.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoomDetails {
    /// How recent the room is, if that may have changed.
    pub(super) bump_stamp: Option<StreamPosition>,
    /// How many events of the timeline came since the last response.
    pub(super) live_events: u64,
}

/// The details of the rooms in a response: in memory, but for rooms without a recent message: one query
/// for all of these.
pub(super) async fn details(
    context: &SyncContext<'_>,
    plans: &Plans<'_>,
    updates: &SyncUpdates<'_>,
) -> Result<HashMap<RoomNid, RoomDetails>, Error> {
    let (mut details, mut unknown) = (HashMap::new(), Vec::new());
    for update in &updates.rooms {
        let room_nid = update.room_nid;
        let (Some(plan), Some(membership)) =
            (plans.get(&room_nid), context.view.user.room(room_nid))
        else {
            continue;
        };
        let mut room = RoomDetails {
            bump_stamp: Some(membership.position),
            live_events: timeline(&update.change)
                .map_or(0, |timeline| live_events(context, timeline)),
        };
        if let RoomChange::Joined(joined) = &update.change {
            match last_bump(joined, plan) {
                LastBump::At(position) => room.bump_stamp = Some(position),
                LastBump::Unchanged => room.bump_stamp = None,
                LastBump::Join => {}
                LastBump::Unknown => {
                    room.bump_stamp = room.bump_stamp.filter(|_| joined.is_initial);
                    unknown.push(room_nid);
                }
            }
        }
        details.insert(room_nid, room);
    }
    if !unknown.is_empty() {
        let mut db = context.database.acquire().await?;
        let found = room_overviews::last_of_types(&mut db, &unknown, &BUMP_TYPES, MAX_SEARCHED);
        for (room_nid, position) in found.await? {
            let room: &mut RoomDetails = details.entry(room_nid).or_default();
            room.bump_stamp = Some(position);
        }
    }
    Ok(details)
}

/// The timeline in an update.
fn timeline<'u>(change: &'u RoomChange<'_>) -> Option<&'u TimelineUpdate> {
    match change {
        RoomChange::Joined(room) => Some(&room.timeline),
        RoomChange::Left(room) => Some(&room.timeline),
        _ => None,
    }
}

fn live_events(context: &SyncContext<'_>, timeline: &TimelineUpdate) -> u64 {
    let Some(since) = context.since_stream() else {
        return 0;
    };
    let is_live = |event: &&Arc<TimelineEvent>| event.position() > since;
    timeline.events.iter().filter(is_live).count() as u64
}

enum LastBump {
    At(StreamPosition),
    /// The same as the client was told before.
    Unchanged,
    /// There is none: the room is as recent as the membership.
    Join,
    /// Only the database knows.
    Unknown,
}

fn last_bump(joined: &JoinedRoom<'_>, plan: &RoomPlan<'_>) -> LastBump {
    let since = plan.since.filter(|_| !joined.is_initial);
    let after = since.unwrap_or(StreamPosition::START);
    if let Some(position) = last_cached_bump(joined.room, after) {
        return LastBump::At(position);
    }
    match (joined.room.timeline_covers(after), since) {
        (true, Some(_)) => LastBump::Unchanged,
        (true, None) => LastBump::Join,
        (false, _) => LastBump::Unknown,
    }
}

fn last_cached_bump(room: &Room, after: StreamPosition) -> Option<StreamPosition> {
    let events = room.timeline().rev();
    let mut events = events.take_while(|event| event.position() > after);
    let bump = events.find(|event| BUMP_TYPES.contains(&event.pdu().event_type()));
    bump.map(|event| event.position())
}
