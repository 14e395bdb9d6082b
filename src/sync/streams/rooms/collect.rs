//! Collects the data of each room: from the cache, and what is not cached by a constant number of
//! queries for all rooms together.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use live::{Room, UserVisibility};
use ruma::events::room::member::MembershipState;
use storage::{
    StoredEvent, events, events::Span, memberships::Membership, state_deltas, stream::StateChange,
};
use types::{HistoryOrder, RoomNid, StreamPosition};

use super::{room_section::RoomSection, rooms_in_view};
use crate::{
    Error,
    context::SyncContext,
    timeline::{Timeline, TimelineFilter},
};

/// The sections of all joined and left rooms.
pub(super) async fn collect_rooms<'a>(
    context: &SyncContext<'a>,
) -> Result<Vec<RoomSection<'a>>, Error> {
    let rooms: Vec<_> = rooms_in_view(context)
        .filter(|(_, membership)| is_shown(context, membership))
        .collect();
    let mut visibilities = visibilities(context, &rooms).await?;
    let mut sections: Vec<RoomSection<'a>> = rooms
        .into_iter()
        .map(|(room, membership)| {
            begin(
                context,
                room,
                membership,
                visibilities.remove(&membership.room_nid),
            )
        })
        .collect();
    backfill_timelines(context, &mut sections).await?;
    load_timeline_changes(context, &mut sections).await?;
    if !context.request.use_state_after {
        sections
            .iter_mut()
            .for_each(RoomSection::cut_outdated_state);
    }
    load_missing_state_changes(context, &mut sections).await?;
    load_past_states(context, &mut sections).await?;
    Ok(sections)
}

/// Left rooms are returned once, or if the filter includes them.
fn is_shown(context: &SyncContext<'_>, membership: &Membership) -> bool {
    match membership.membership {
        MembershipState::Join => true,
        MembershipState::Leave | MembershipState::Ban => {
            let is_changed = context
                .since_stream()
                .is_some_and(|since| membership.position > since);
            let asks_for_all = context.since.is_none() || context.request.full_state;
            let include_left = context.filter.include_leave
                || (context.since.is_none() && membership.was_removed(&context.request.user_id));
            is_changed || (include_left && asks_for_all && !membership.forgotten)
        }
        _ => false,
    }
}

/// The visibility of those rooms where not every event since the token is visible.
async fn visibilities(
    context: &SyncContext<'_>,
    rooms: &[(&Arc<Room>, &Membership)],
) -> Result<HashMap<RoomNid, UserVisibility>, Error> {
    let (mut visibilities, mut unknown) = (HashMap::new(), Vec::new());
    for (room, membership) in rooms {
        let joined = membership.membership == MembershipState::Join;
        match context.since_stream() {
            // Every event since is visible.
            Some(since) if joined && membership.position <= since => {}
            Some(since) if !room.timeline_covers(since) => unknown.push(membership.room_nid),
            // The end of the last stay may be long ago.
            _ if !joined => unknown.push(membership.room_nid),
            _ => {
                visibilities.insert(
                    membership.room_nid,
                    room.visibility_for(&context.request.user_id),
                );
            }
        }
    }
    if !unknown.is_empty() {
        let mut db = context.database.acquire().await?;
        visibilities.extend(
            UserVisibility::load_for_rooms(&mut db, &unknown, &context.request.user_id).await?,
        );
    }
    Ok(visibilities)
}

fn begin<'a>(
    context: &SyncContext<'a>,
    room: &'a Arc<Room>,
    membership: &'a Membership,
    visibility: Option<UserVisibility>,
) -> RoomSection<'a> {
    let joined = membership.membership == MembershipState::Join;
    let until = if joined {
        context.view.position
    } else {
        membership.position
    };
    let last_leave = visibility.as_ref().and_then(UserVisibility::last_leave);
    let state_until = match last_leave {
        Some(last_leave) if !joined => last_leave.position.unwrap_or(StreamPosition::START),
        _ => until,
    };
    let was_in = |since: StreamPosition| {
        visibility.as_ref().is_none_or(|visibility| {
            let at = Some(HistoryOrder::of(since));
            visibility.membership(at) == MembershipState::Join
        })
    };
    let is_initial = context.since_stream().is_none_or(|since| !was_in(since));
    let never_joined = !joined
        && visibility
            .as_ref()
            .is_some_and(|visibility| !visibility.was_joined(HistoryOrder::of(until)));
    let after = match context.since_stream() {
        Some(since) if !is_initial || never_joined => since,
        _ => StreamPosition::START,
    };
    let timeline_filter = TimelineFilter {
        user: &context.view.user,
        filter: context.filter,
        visibility: visibility.as_ref(),
        never_joined,
    };
    let mut timeline = Timeline::recent(room, timeline_filter, after, until);
    timeline.detect_gap(room);
    // The timeline does not continue from that of an earlier stay, even if no event is left out.
    timeline.limited |= joined && is_initial && context.since.is_some();
    RoomSection {
        user_id: &context.request.user_id,
        room,
        membership,
        until,
        state_until,
        is_initial,
        never_joined,
        full_state: (is_initial || context.request.full_state) && !never_joined,
        state: joined.then(|| room.state().clone()),
        changes: Vec::new(),
        older_changes: Vec::new(),
        timeline,
        visibility,
    }
}

/// Reads older events for timelines that the cache does not fill.
async fn backfill_timelines(
    context: &SyncContext<'_>,
    sections: &mut [RoomSection<'_>],
) -> Result<(), Error> {
    let spans: Vec<Span> = sections
        .iter()
        .filter_map(|section| section.timeline.missing(section.room))
        .collect();
    if spans.is_empty() {
        return Ok(());
    }
    let wanted: HashSet<RoomNid> = spans.iter().map(|span| span.room_nid).collect();
    let limit = Timeline::read_limit(context.filter);
    let mut db = context.database.acquire().await?;
    let mut older = by_room(events::latest(&mut db, &spans, limit).await?);
    // The visibility of the cached timeline does not cover older events.
    let uncovered: Vec<RoomNid> = sections
        .iter()
        .filter(|section| section.visibility.is_some() && wanted.contains(&section.room.room_nid()))
        .map(|section| section.room.room_nid())
        .collect();
    let mut visibilities = if uncovered.is_empty() {
        HashMap::new()
    } else {
        UserVisibility::load_for_rooms(&mut db, &uncovered, &context.request.user_id).await?
    };
    for section in sections {
        let room_nid = section.room.room_nid();
        if !wanted.contains(&room_nid) {
            continue;
        }
        if let Some(visibility) = visibilities.remove(&room_nid) {
            section.visibility = Some(visibility);
        }
        let timeline_filter = TimelineFilter {
            user: &context.view.user,
            filter: context.filter,
            visibility: section.visibility.as_ref(),
            never_joined: section.never_joined,
        };
        section.timeline.extend(
            older.remove(&room_nid).unwrap_or_default(),
            timeline_filter,
            limit,
        );
    }
    Ok(())
}

/// Reads how the state changed in the part of timelines that the cache does not cover, where the
/// state at their start is wanted.
async fn load_timeline_changes(
    context: &SyncContext<'_>,
    sections: &mut [RoomSection<'_>],
) -> Result<(), Error> {
    if context.request.use_state_after {
        return Ok(());
    }
    let spans: Vec<Span> = sections
        .iter()
        .filter_map(|section| {
            let first = section.timeline.events.first()?.position();
            let after = StreamPosition(first.get() - 1);
            (!section.room.timeline_covers(after)).then(|| Span {
                room_nid: section.room.room_nid(),
                after,
                until: section.room.timeline_start().min(section.state_until),
            })
        })
        .collect();
    if spans.is_empty() {
        return Ok(());
    }
    let mut db = context.database.acquire().await?;
    let mut older: HashMap<RoomNid, Vec<StateChange>> = HashMap::new();
    for (_, delta) in state_deltas::each(&mut db, &spans).await? {
        older
            .entry(delta.room_nid)
            .or_default()
            .extend(delta.changes);
    }
    for section in sections {
        section.older_changes = older.remove(&section.room.room_nid()).unwrap_or_default();
    }
    Ok(())
}

/// Collects how the state changed since the token: from the cache, and older changes from the
/// database.
async fn load_missing_state_changes(
    context: &SyncContext<'_>,
    sections: &mut [RoomSection<'_>],
) -> Result<(), Error> {
    let Some(since) = context.since_stream() else {
        return Ok(());
    };
    let spans: Vec<Span> = sections
        .iter()
        .filter(|section| !section.full_state && !section.never_joined)
        .filter(|section| !section.room.timeline_covers(since))
        .map(|section| Span {
            room_nid: section.room.room_nid(),
            after: since,
            until: section.room.timeline_start().min(section.state_until),
        })
        .collect();
    let mut older = if spans.is_empty() {
        HashMap::new()
    } else {
        let mut db = context.database.acquire().await?;
        state_deltas::net(&mut db, &spans).await?
    };
    for section in sections {
        if section.never_joined {
            continue;
        }
        let mut changes = older.remove(&section.room.room_nid()).unwrap_or_default();
        changes.extend(section.cached_changes(since).cloned());
        section.changes = changes;
    }
    Ok(())
}

/// Reads the state of left rooms as of the end of the last stay, with the own membership since.
async fn load_past_states(
    context: &SyncContext<'_>,
    sections: &mut [RoomSection<'_>],
) -> Result<(), Error> {
    let lazy = context.filter.lazy_load_members;
    let is_needed = |section: &RoomSection<'_>| {
        section.state.is_none() && !section.never_joined && (section.full_state || lazy)
    };
    let needed: Vec<_> = sections.iter().filter(|s| is_needed(s)).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let snapshots: Vec<_> = needed
        .iter()
        .filter_map(|section| section.visibility.as_ref()?.last_leave()?.snapshot_nid)
        .collect();
    let members: Vec<_> = needed
        .iter()
        .map(|section| section.membership.event_nid)
        .collect();
    let mut db = context.database.acquire().await?;
    let mut states = by_room(events::state_of(&mut db, &snapshots).await?);
    let mut members = by_room(events::by_nids(&mut db, &members).await?);
    for section in sections.iter_mut().filter(|section| is_needed(section)) {
        let room_nid = section.room.room_nid();
        let state = states.remove(&room_nid).unwrap_or_default();
        let own = members.remove(&room_nid).unwrap_or_default();
        let events = state.into_iter().chain(own).map(|event| event.pdu);
        section.state = Some(events.collect());
    }
    Ok(())
}

fn by_room(events: Vec<StoredEvent>) -> HashMap<RoomNid, Vec<StoredEvent>> {
    let mut rooms: HashMap<RoomNid, Vec<_>> = HashMap::new();
    for event in events {
        rooms.entry(event.room_nid).or_default().push(event);
    }
    rooms
}
