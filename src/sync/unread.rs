//! How many notifications a user has not read in each room.
//!
//! Counting goes on from the last count, over what memory holds; what it does not hold is read for
//! all rooms together. Spec: client-server, "Receiving notifications".

mod counter;
mod judge;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use live::{Room, Tally};
use ruma::{OwnedEventId, events::room::member::MembershipState};
use storage::{Connection, events, memberships::Membership};
use types::RoomNid;

use self::counter::{Counter, Place};
use crate::{Error, v3::Ask};

/// Unread events of a room that are looked at, the newest ones: a count does not go beyond it by
/// what happened before this process knew the user.
const MOST: i64 = 1_000;

/// Relations that are followed from an event to the thread that it is in.
const HOPS: usize = 3;

/// Counts for each of the rooms that the user is in.
pub(crate) async fn count<'a>(
    ask: &Ask<'a>,
    rooms: impl Iterator<Item = (&'a Arc<Room>, &'a Membership)>,
) -> Result<HashMap<RoomNid, Arc<Tally>>, Error> {
    let mut tallies = HashMap::new();
    let mut counters: HashMap<RoomNid, Counter<'a>> = HashMap::new();
    for (room, membership) in rooms {
        if membership.membership != MembershipState::Join {
            continue;
        }
        let room_nid = room.room_nid();
        let before = ask.watch.tally(room_nid);
        let counter = Counter::new(ask, room, membership.position, before.as_deref());
        match before {
            Some(before) if counter.adds_nothing_to(&before) => {
                tallies.insert(room_nid, before);
            }
            _ => {
                counters.insert(room_nid, counter);
            }
        }
    }
    let wanted: Vec<_> = counters.values().filter_map(Counter::wants).collect();
    if !wanted.is_empty() {
        let mut db = ask.database.acquire().await?;
        let see = |room_nid, position, pdu| {
            if let Some(counter) = counters.get_mut(&room_nid) {
                counter.read(position, &pdu);
            }
        };
        events::unread(&mut db, &ask.request.user_id, &wanted, MOST, see).await?;
    }
    if counters
        .values()
        .any(|counter| counter.unplaced().next().is_some())
    {
        let mut db = ask.database.acquire().await?;
        place(&mut db, &mut counters).await?;
    }
    for (room_nid, counter) in counters {
        let tally = Arc::new(counter.finish());
        ask.watch.note_tally(room_nid, tally.clone());
        tallies.insert(room_nid, tally);
    }
    Ok(tallies)
}

/// Finds the threads of events that are related to events which memory does not hold.
async fn place(
    db: &mut Connection,
    counters: &mut HashMap<RoomNid, Counter<'_>>,
) -> Result<(), Error> {
    for _ in 0..HOPS {
        let parents: BTreeSet<(RoomNid, OwnedEventId)> = counters
            .iter()
            .flat_map(|(room_nid, counter)| {
                counter.unplaced().map(|parent| (*room_nid, parent.clone()))
            })
            .collect();
        if parents.is_empty() {
            return Ok(());
        }
        let parents: Vec<_> = parents.into_iter().collect();
        let relations = events::relations_of(db, &parents).await?;
        for counter in counters.values_mut() {
            counter.follow(|parent| Place::of(relations.get(parent).cloned().flatten()));
        }
    }
    Ok(())
}
