//! Collects what is shown of each room: from memory, and for all rooms together in a constant
//! number of queries what memory does not hold.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use event::State;
use live::{Room, sight::Sight};
use ruma::events::room::member::MembershipState;
use storage::{Connection, StoredEvent, events, events::Span, memberships::Membership};
use types::{RoomNid, StreamPosition};

use super::{looked_at, section::Section};
use crate::{
    Error,
    timeline::{BEGINNING, Gate, Timeline},
    v3::Ask,
};

/// The sections of all rooms that the user is in or has left.
pub(super) async fn gather<'a>(ask: &Ask<'a>) -> Result<Vec<Section<'a>>, Error> {
    let rooms: Vec<_> = looked_at(ask)
        .filter(|(_, membership)| is_shown(ask, membership))
        .collect();
    let mut sights = sights(ask, &rooms).await?;
    let mut sections: Vec<Section<'a>> = rooms
        .into_iter()
        .map(|(room, membership)| begin(ask, room, membership, sights.remove(&membership.room_nid)))
        .collect();
    lengthen(ask, &mut sections).await?;
    add_gaps(ask, &mut sections).await?;
    add_past_states(ask, &mut sections).await?;
    Ok(sections)
}

/// Rooms that were left are told once, or where the client asks for them.
fn is_shown(ask: &Ask<'_>, membership: &Membership) -> bool {
    match membership.membership {
        MembershipState::Join => true,
        MembershipState::Leave | MembershipState::Ban => {
            let is_news = ask
                .since_stream()
                .is_some_and(|since| membership.position > since);
            let asks_for_all = ask.since.is_none() || ask.request.full_state;
            is_news || (ask.filter.include_leave && asks_for_all && !membership.forgotten)
        }
        _ => false,
    }
}

/// What the user may see in those rooms where that is not simply everything since the token.
async fn sights(
    ask: &Ask<'_>,
    rooms: &[(&Arc<Room>, &Membership)],
) -> Result<HashMap<RoomNid, Sight>, Error> {
    let (mut sights, mut unknown) = (HashMap::new(), Vec::new());
    for (room, membership) in rooms {
        let joined = membership.membership == MembershipState::Join;
        match ask.since_stream() {
            // Everything since may be seen.
            Some(since) if joined && membership.position <= since => {}
            Some(since) if !room.reaches(since) => unknown.push(membership.room_nid),
            None if !joined => unknown.push(membership.room_nid),
            _ => {
                sights.insert(membership.room_nid, room.sight(&ask.request.user_id));
            }
        }
    }
    if !unknown.is_empty() {
        let mut db = ask.database.acquire().await?;
        sights.extend(Sight::of_rooms(&mut db, &unknown, &ask.request.user_id).await?);
    }
    Ok(sights)
}

fn begin<'a>(
    ask: &Ask<'a>,
    room: &'a Arc<Room>,
    membership: &'a Membership,
    sight: Option<Sight>,
) -> Section<'a> {
    let joined = membership.membership == MembershipState::Join;
    let until = if joined {
        ask.look.position
    } else {
        membership.position
    };
    let was_in = |since: StreamPosition| {
        sight
            .as_ref()
            .is_none_or(|sight| sight.membership(since) == MembershipState::Join)
    };
    let is_new = ask.since_stream().is_none_or(|since| !was_in(since));
    let never_joined = !joined && sight.as_ref().is_some_and(|sight| !sight.was_joined(until));
    let after = match ask.since_stream() {
        Some(since) if !is_new || never_joined => since,
        _ => BEGINNING,
    };
    let gate = Gate {
        user: &ask.look.user,
        filter: ask.filter,
        sight: sight.as_ref(),
    };
    let mut timeline = Timeline::recent(room, gate, after, until);
    timeline.note_gap(room);
    // What the client may have of an earlier stay is not gone on from, though nothing else is left out.
    timeline.limited |= joined && is_new && ask.since.is_some();
    Section {
        room,
        membership,
        until,
        is_new,
        never_joined,
        whole_state: (is_new || ask.request.full_state) && !never_joined,
        state: joined.then(|| room.state().clone()),
        changes: Vec::new(),
        timeline,
        sight,
    }
}

/// Reads older events for timelines that memory makes too short.
async fn lengthen(ask: &Ask<'_>, sections: &mut [Section<'_>]) -> Result<(), Error> {
    let spans: Vec<Span> = sections
        .iter()
        .filter_map(|section| section.timeline.missing(section.room))
        .collect();
    if spans.is_empty() {
        return Ok(());
    }
    let wanted: HashSet<RoomNid> = spans.iter().map(|span| span.room_nid).collect();
    let limit = Timeline::read_limit(ask.filter);
    let mut db = ask.database.acquire().await?;
    let mut older = by_room(events::latest(&mut db, &spans, limit).await?);
    // What is known from memory alone does not reach back so far.
    let blind: Vec<RoomNid> = sections
        .iter()
        .filter(|section| section.sight.is_some() && wanted.contains(&section.room.room_nid()))
        .map(|section| section.room.room_nid())
        .collect();
    let mut sights = if blind.is_empty() {
        HashMap::new()
    } else {
        Sight::of_rooms(&mut db, &blind, &ask.request.user_id).await?
    };
    for section in sections {
        let room_nid = section.room.room_nid();
        if !wanted.contains(&room_nid) {
            continue;
        }
        if let Some(sight) = sights.remove(&room_nid) {
            section.sight = Some(sight);
        }
        let gate = Gate {
            user: &ask.look.user,
            filter: ask.filter,
            sight: section.sight.as_ref(),
        };
        section
            .timeline
            .extend(older.remove(&room_nid).unwrap_or_default(), gate, limit);
    }
    Ok(())
}

/// Finds the state events since the token: in memory, or in the database what is older.
async fn add_gaps(ask: &Ask<'_>, sections: &mut [Section<'_>]) -> Result<(), Error> {
    let Some(since) = ask.since_stream() else {
        return Ok(());
    };
    let spans: Vec<Span> = sections
        .iter()
        .filter(|section| !section.whole_state && !section.never_joined)
        .filter(|section| !section.room.reaches(since))
        .map(|section| Span {
            room_nid: section.room.room_nid(),
            after: since,
            until: section.room.complete_after().min(section.until),
        })
        .collect();
    let mut older = if spans.is_empty() {
        HashMap::new()
    } else {
        let mut db = ask.database.acquire().await?;
        by_room(events::state_changes(&mut db, &spans).await?)
    };
    for section in sections {
        if section.never_joined {
            continue;
        }
        section.changes = older.remove(&section.room.room_nid()).unwrap_or_default();
        let recent = section
            .room
            .timeline()
            .map(|moment| moment.event())
            .filter(|event| {
                event.pdu.is_state() && since < event.position && event.position <= section.until
            });
        section.changes.extend(recent.cloned());
    }
    Ok(())
}

/// Reads the state of rooms as it was when the user left them.
async fn add_past_states(ask: &Ask<'_>, sections: &mut [Section<'_>]) -> Result<(), Error> {
    let needed = |section: &Section<'_>| section.whole_state && section.state.is_none();
    let leaves: Vec<_> = sections
        .iter()
        .filter(|section| needed(section))
        .map(|section| section.membership.event_nid)
        .collect();
    if leaves.is_empty() {
        return Ok(());
    }
    let mut db = ask.database.acquire().await?;
    let mut states = past_states(&mut db, &leaves).await?;
    for section in sections.iter_mut().filter(|section| needed(section)) {
        section.state = states.remove(&section.room.room_nid());
    }
    Ok(())
}

async fn past_states(
    db: &mut Connection,
    leaves: &[types::EventNid],
) -> Result<HashMap<RoomNid, State>, Error> {
    let leaves = events::by_nids(db, leaves).await?;
    let snapshots: Vec<_> = leaves.iter().map(|event| event.snapshot_nid).collect();
    let states = by_room(events::state_of(db, &snapshots).await?);
    let state = |events: Vec<StoredEvent>| events.into_iter().map(|event| event.pdu).collect();
    Ok(states
        .into_iter()
        .map(|(room_nid, events)| (room_nid, state(events)))
        .collect())
}

fn by_room(events: Vec<StoredEvent>) -> HashMap<RoomNid, Vec<StoredEvent>> {
    let mut rooms: HashMap<RoomNid, Vec<_>> = HashMap::new();
    for event in events {
        rooms.entry(event.room_nid).or_default().push(event);
    }
    rooms
}
