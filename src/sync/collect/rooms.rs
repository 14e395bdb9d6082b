//! Collects the updates of the rooms; what is not cached is read for all of them together.

use std::collections::{HashMap, HashSet};

use live::UserVisibility;
use ruma::events::room::member::MembershipState;
use storage::{events, events::Span, state_deltas, stream::StateChange};
use types::{RoomNid, StreamPosition};

use super::{
    room::{self, RoomCollector},
    stripped,
    timeline::Timeline,
    visibility,
};
use crate::{
    Error,
    context::SyncContext,
    query::{RoomRequest, StateAt, SyncQuery},
    updates::{RoomChange, RoomUpdate},
};

/// The updates of the rooms that changed.
pub(super) async fn updates<'a>(
    context: &SyncContext<'a>,
    query: SyncQuery<'a>,
) -> Result<Vec<RoomUpdate<'a>>, Error> {
    let is_outside = |request: &RoomRequest<'_>| {
        matches!(
            request.membership.membership,
            MembershipState::Invite | MembershipState::Knock
        )
    };
    let (outside, inside): (Vec<_>, Vec<_>) = requests(context, query).partition(is_outside);
    let mut updates: Vec<_> = outside
        .iter()
        .filter_map(|request| stripped::update(context, request))
        .collect();
    let rooms = collect(context, inside).await?;
    let unread = context.subscription.count_unread(context.view).await?;
    for room in rooms {
        let membership = room.request.membership;
        let change = if membership.membership == MembershipState::Join {
            let unread = unread.get(&membership.room_nid).cloned();
            let joined = room.joined(context, unread);
            joined.map(|joined| RoomChange::Joined(Box::new(joined)))
        } else {
            Some(RoomChange::Left(room.left(context)))
        };
        updates.extend(change.map(|change| RoomUpdate {
            room_nid: membership.room_nid,
            room_id: &membership.room_id,
            change,
        }));
    }
    updates.extend(account_data_only(context, query));
    Ok(updates)
}

/// The rooms of the view of which the client asks for something.
fn requests<'a>(
    context: &SyncContext<'a>,
    query: SyncQuery<'a>,
) -> impl Iterator<Item = RoomRequest<'a>> {
    let view = context.view;
    view.rooms.iter().filter_map(move |(room_nid, room)| {
        let membership = view.user.room(*room_nid)?;
        let request = RoomRequest {
            room,
            membership,
            query: (query.room)(membership)?,
        };
        (!request.is_withheld()).then_some(request)
    })
}

/// The updates of joined rooms without changes other than account data.
fn account_data_only<'a>(
    context: &SyncContext<'a>,
    query: SyncQuery<'a>,
) -> impl Iterator<Item = RoomUpdate<'a>> {
    let (context, view) = (*context, context.view);
    let rooms = context
        .since_stream()
        .map(|since| view.user.rooms_with_data_after(since));
    let rooms = rooms.into_iter().flatten();
    let rooms = rooms.filter(|room_nid| !view.rooms.contains_key(room_nid));
    rooms.filter_map(move |room_nid| {
        let membership = view.user.room(room_nid)?;
        let is_joined = membership.membership == MembershipState::Join;
        let room_query = (query.room)(membership).filter(|_| is_joined)?;
        if !room_query.state.lazy_load_members && context.live.is_partial(room_nid) {
            return None;
        }
        let data = room::account_data(&context, membership, &room_query, room_query.after());
        (!data.is_empty()).then(|| RoomUpdate {
            room_nid,
            room_id: &membership.room_id,
            change: RoomChange::AccountData(data),
        })
    })
}

/// Collects the data of joined and left rooms.
async fn collect<'a>(
    context: &SyncContext<'a>,
    requests: Vec<RoomRequest<'a>>,
) -> Result<Vec<RoomCollector<'a>>, Error> {
    let mut visibilities = visibility::of_rooms(context, &requests).await?;
    let mut rooms: Vec<RoomCollector<'a>> = requests
        .into_iter()
        .map(|request| {
            let visibility = visibilities.remove(&request.membership.room_nid);
            RoomCollector::new(context, request, visibility)
        })
        .collect();
    backfill_timelines(context, &mut rooms).await?;
    load_timeline_changes(context, &mut rooms).await?;
    rooms
        .iter_mut()
        .filter(|room| room.request.query.state.at == StateAt::TimelineStart)
        .for_each(RoomCollector::cut_outdated_state);
    load_missing_state_changes(context, &mut rooms).await?;
    load_current_states(context, &mut rooms).await?;
    load_past_states(context, &mut rooms).await?;
    Ok(rooms)
}

/// Reads older events for timelines that the cache does not fill.
async fn backfill_timelines(
    context: &SyncContext<'_>,
    rooms: &mut [RoomCollector<'_>],
) -> Result<(), Error> {
    let spans: Vec<Span> = rooms
        .iter()
        .filter_map(|room| room.timeline.missing(room.request.room))
        .collect();
    if spans.is_empty() {
        return Ok(());
    }
    let wanted: HashSet<RoomNid> = spans.iter().map(|span| span.room_nid).collect();
    let is_wanted = |room: &RoomCollector<'_>| wanted.contains(&room.room_nid());
    let limits = rooms.iter().filter(|room| is_wanted(room));
    let limits = limits.map(|room| Timeline::read_limit(room.request.query.timeline));
    let limit = limits.max().unwrap_or_default();
    let mut db = context.database.acquire().await?;
    let mut older = events::by_room(events::latest(&mut db, &spans, limit).await?);
    // The visibility of the cached timeline does not cover older events.
    let uncovered: Vec<RoomNid> = rooms
        .iter()
        .filter(|room| room.visibility.is_some() && is_wanted(room))
        .map(RoomCollector::room_nid)
        .collect();
    let mut visibilities = if uncovered.is_empty() {
        HashMap::new()
    } else {
        UserVisibility::load_for_rooms(&mut db, &uncovered, context.user_id).await?
    };
    for room in rooms.iter_mut().filter(|room| is_wanted(room)) {
        let room_nid = room.room_nid();
        let visibility = visibilities.remove(&room_nid);
        let older = older.remove(&room_nid).unwrap_or_default();
        room.extend_timeline(context, older, limit, visibility);
    }
    Ok(())
}

/// Reads how the state changed in the part of timelines that the cache does not cover, where the
/// state at their start is wanted.
async fn load_timeline_changes(
    context: &SyncContext<'_>,
    rooms: &mut [RoomCollector<'_>],
) -> Result<(), Error> {
    let spans: Vec<Span> = rooms
        .iter()
        .filter(|room| room.request.query.state.at == StateAt::TimelineStart)
        .filter_map(|room| {
            let first = room.timeline.events.first()?.position();
            room.uncached_span(StreamPosition(first.get() - 1))
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
    for room in rooms {
        room.older_changes = older.remove(&room.room_nid()).unwrap_or_default();
    }
    Ok(())
}

/// Collects how the state changed since the token: from the cache, and older changes from the
/// database.
async fn load_missing_state_changes(
    context: &SyncContext<'_>,
    rooms: &mut [RoomCollector<'_>],
) -> Result<(), Error> {
    let spans: Vec<Span> = rooms
        .iter()
        .filter(|room| !room.full_state && !room.never_joined)
        .filter_map(|room| room.uncached_span(room.request.query.since?))
        .collect();
    let mut older = if spans.is_empty() {
        HashMap::new()
    } else {
        let mut db = context.database.acquire().await?;
        state_deltas::net_changes(&mut db, &spans).await?
    };
    for room in rooms {
        let Some(since) = room.request.query.since else {
            continue;
        };
        if room.never_joined {
            continue;
        }
        let mut changes = older.remove(&room.room_nid()).unwrap_or_default();
        changes.extend(room.cached_changes(since).cloned());
        room.changes = changes;
    }
    Ok(())
}

/// Takes what is needed of the current state of joined rooms: from the cache, and what is not there
/// by one query.
async fn load_current_states(
    context: &SyncContext<'_>,
    rooms: &mut [RoomCollector<'_>],
) -> Result<(), Error> {
    let (mut known, mut needed) = (HashMap::new(), HashSet::new());
    for room in rooms.iter().filter(|room| room.is_current()) {
        let changed = room.known_changes().filter_map(|change| change.to.clone());
        known.extend(changed.map(|event| (event.nid, event.pdu)));
        needed.extend(room.needed_events());
    }
    needed.retain(|nid| !known.contains_key(nid));
    known.extend(context.live.events(needed).await?);
    for room in rooms.iter_mut().filter(|room| room.is_current()) {
        let mut state = room.request.room.state().core().clone();
        for pdu in room.needed_events().iter().filter_map(|nid| known.get(nid)) {
            state.insert(pdu.clone());
        }
        room.state = Some(state);
    }
    Ok(())
}

/// Reads the state of left rooms as of the end of the last stay, with the own membership since.
async fn load_past_states(
    context: &SyncContext<'_>,
    rooms: &mut [RoomCollector<'_>],
) -> Result<(), Error> {
    let is_needed = |room: &RoomCollector<'_>| {
        let lazy = room.request.query.state.lazy_load_members;
        !room.is_current() && !room.never_joined && (room.full_state || lazy)
    };
    let needed: Vec<_> = rooms.iter().filter(|room| is_needed(room)).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let snapshots: Vec<_> = needed
        .iter()
        .filter_map(|room| room.visibility.as_ref()?.last_leave()?.snapshot_nid)
        .collect();
    let members: Vec<_> = needed
        .iter()
        .map(|room| room.request.membership.event_nid)
        .collect();
    let mut db = context.database.acquire().await?;
    let mut states = events::by_room(events::state_of(&mut db, &snapshots).await?);
    let mut members = events::by_room(events::by_nids(&mut db, &members).await?);
    for room in rooms.iter_mut().filter(|room| is_needed(room)) {
        let state = states.remove(&room.room_nid()).unwrap_or_default();
        let own = members.remove(&room.room_nid()).unwrap_or_default();
        let events = state.into_iter().chain(own).map(|event| event.pdu);
        room.state = Some(events.collect());
    }
    Ok(())
}
