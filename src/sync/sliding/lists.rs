//! Which rooms the lists and subscriptions of a request select.

use std::{cmp::Reverse, collections::HashMap};

use live::{ChangedRooms, Live};
use ruma::events::room::member::MembershipState;
use storage::{memberships::Membership, room_overviews::RoomOverview};
use types::RoomNid;

use super::{
    SlidingQuery,
    filters::Filter,
    request::{Request, RoomList},
};
use crate::Error;

/// The rooms that a request selects.
pub(super) struct Selection<'a, 'c> {
    /// How many rooms are in each list, whatever its ranges.
    pub(super) counts: Vec<(&'a str, u64)>,
    /// The rooms with the rules that select them, those with the latest activity first.
    pub(super) rooms: Vec<SelectedRoom<'a, 'c>>,
}

/// A room with the rules that select it.
pub(super) type SelectedRoom<'a, 'c> = (&'c Membership, Rules<'a>);

/// The rules of a request that select a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rules<'a> {
    /// The lists, by name.
    pub(super) lists: Vec<&'a str>,
    pub(super) is_subscribed: bool,
}

/// Selects the rooms of the user.
///
/// Everything is in memory but for rooms that were never listed: one query for all of them, and for
/// spaces that lists are filtered by.
pub(super) async fn select<'a, 'c>(
    live: &Live,
    query: SlidingQuery<'a>,
    changed: &'c ChangedRooms,
) -> Result<Selection<'a, 'c>, Error> {
    let (user, request) = (&*changed.user, query.request);
    let rooms = user.rooms().filter(|room| is_listed(query, changed, room));
    let rooms: Vec<&Membership> = rooms.collect();
    let overviews = if request.lists.is_empty() {
        HashMap::new()
    } else {
        let room_nids = rooms.iter().map(|room| room.room_nid);
        live.room_overviews(room_nids).await?
    };
    let rooms = by_activity(rooms, &overviews);
    let mut rules: HashMap<RoomNid, Rules<'a>> = HashMap::new();
    let mut counts = Vec::new();
    for (name, list) in &request.lists {
        let filter = Filter::prepare(live, user, &list.filters).await?;
        let mut count = 0;
        for room in &rooms {
            if filter.allows(user, room, overviews.get(&room.room_nid)) {
                if contains(list, count) {
                    let rules = rules.entry(room.room_nid).or_default();
                    rules.lists.push(name);
                }
                count += 1;
            }
        }
        counts.push((&**name, count));
    }
    subscribe(request, &rooms, &mut rules);
    let rooms = rooms.into_iter();
    let rooms = rooms.filter_map(|room| Some((room, rules.remove(&room.room_nid)?)));
    Ok(Selection {
        counts,
        rooms: rooms.collect(),
    })
}

/// Adds the subscriptions; those to rooms that the user has nothing to do with have no effect.
fn subscribe(request: &Request, rooms: &[&Membership], rules: &mut HashMap<RoomNid, Rules<'_>>) {
    if request.subscriptions.is_empty() {
        return;
    }
    for room in rooms {
        if request.subscriptions.contains_key(&room.room_id) {
            rules.entry(room.room_nid).or_default().is_subscribed = true;
        }
    }
}

/// Whether a window of a list contains an index.
fn contains(list: &RoomList, index: u64) -> bool {
    let is_in = |(first, last): &(u64, u64)| (*first..=*last).contains(&index);
    list.ranges
        .as_ref()
        .is_none_or(|ranges| ranges.iter().any(is_in))
}

/// Whether a client is told of a room of the user.
///
/// Spec: MSC4186, "Lists". A room that the user left is there until its client is told of that.
fn is_listed(query: SlidingQuery<'_>, changed: &ChangedRooms, room: &Membership) -> bool {
    let user = &changed.user;
    match room.membership {
        MembershipState::Join | MembershipState::Knock => true,
        MembershipState::Invite => !user.hides_invites_by(&room.sender),
        MembershipState::Leave | MembershipState::Ban => {
            let sent = query.connection.room(room.room_nid);
            let until = sent.and_then(|sent| sent.until).or(query.since_stream());
            let is_new = sent.is_some() && until.is_some_and(|until| room.position > until);
            is_new || (room.was_removed(user.user_id()) && !room.forgotten)
        }
        _ => false,
    }
}

/// Sorts rooms by their last activity: the last event, or for those who are not in the room how they
/// came to be related to it.
fn by_activity<'a>(
    rooms: Vec<&'a Membership>,
    overviews: &HashMap<RoomNid, RoomOverview>,
) -> Vec<&'a Membership> {
    let activity = |room: &Membership| {
        let overview = overviews.get(&room.room_nid);
        let is_joined = room.membership == MembershipState::Join;
        let last_event = overview.filter(|_| is_joined).map(|room| room.last_event);
        last_event.unwrap_or_default().max(room.position)
    };
    let rooms = rooms.into_iter();
    let mut rooms: Vec<_> = rooms
        .map(|room| (Reverse((activity(room), room.room_nid)), room))
        .collect();
    rooms.sort_unstable_by_key(|(activity, _)| *activity);
    rooms.into_iter().map(|(_, room)| room).collect()
}
