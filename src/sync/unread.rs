//! Unread notification counts of rooms.
//!
//! Counting resumes from the last count with the cached events; what is not cached is read for all
//! rooms together. Spec: client-server, "Receiving notifications".

mod counter;
mod push_evaluator;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use live::{Room, UnreadCounts};
use ruma::{OwnedEventId, events::room::member::MembershipState};
use storage::{Connection, events, memberships::Membership};
use types::RoomNid;

use self::counter::{EventThread, UnreadCounter};
use crate::{Error, context::SyncContext};

/// The most unread events counted in a room without a previous count; the newest are counted.
const MAX_COUNTED: i64 = 1_000;

/// How many relations are followed to find the thread of an event.
const MAX_RELATION_DEPTH: usize = 3;

/// The counts of each joined room.
pub(crate) async fn count<'a>(
    context: &SyncContext<'a>,
    rooms: impl Iterator<Item = (&'a Arc<Room>, &'a Membership)>,
) -> Result<HashMap<RoomNid, Arc<UnreadCounts>>, Error> {
    let mut all_counts = HashMap::new();
    let mut counters: HashMap<RoomNid, UnreadCounter<'a>> = HashMap::new();
    for (room, membership) in rooms {
        if membership.membership != MembershipState::Join {
            continue;
        }
        let room_nid = room.room_nid();
        let before = context.subscription.unread_counts(room_nid);
        let counter = UnreadCounter::new(context, room, membership.position, before.as_deref());
        match before {
            Some(before) if counter.is_unchanged_from(&before) => {
                all_counts.insert(room_nid, before);
            }
            _ => {
                counters.insert(room_nid, counter);
            }
        }
    }
    let wanted: Vec<_> = counters
        .values()
        .filter_map(UnreadCounter::missing)
        .collect();
    if !wanted.is_empty() {
        let mut db = context.database.acquire().await?;
        let count_event = |room_nid, order, pdu| {
            if let Some(counter) = counters.get_mut(&room_nid) {
                counter.read(order, &pdu);
            }
        };
        events::unread(&mut db, context.user_id, &wanted, MAX_COUNTED, count_event).await?;
    }
    if counters
        .values()
        .any(|counter| counter.unresolved_parents().next().is_some())
    {
        let mut db = context.database.acquire().await?;
        resolve_threads(&mut db, &mut counters).await?;
    }
    for (room_nid, counter) in counters {
        let unread_counts = Arc::new(counter.finish());
        context
            .subscription
            .store_unread_counts(room_nid, unread_counts.clone());
        all_counts.insert(room_nid, unread_counts);
    }
    Ok(all_counts)
}

/// Finds the threads of events that relate to events which are not cached.
async fn resolve_threads(
    db: &mut Connection,
    counters: &mut HashMap<RoomNid, UnreadCounter<'_>>,
) -> Result<(), Error> {
    for _ in 0..MAX_RELATION_DEPTH {
        let parents: BTreeSet<(RoomNid, OwnedEventId)> = counters
            .iter()
            .flat_map(|(room_nid, counter)| {
                counter
                    .unresolved_parents()
                    .map(|parent| (*room_nid, parent.clone()))
            })
            .collect();
        if parents.is_empty() {
            return Ok(());
        }
        let parents: Vec<_> = parents.into_iter().collect();
        let relations = events::relations_of(db, &parents).await?;
        for counter in counters.values_mut() {
            counter.follow(|parent| {
                EventThread::from_relation(relations.get(parent).cloned().flatten())
            });
        }
    }
    Ok(())
}
