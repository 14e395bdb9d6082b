//! Counts the unread notifications of a user.

use std::{collections::HashMap, sync::Arc};

use ruma::{OwnedEventId, events::room::member::MembershipState};
use storage::Error;
use types::RoomNid;

use super::{UnreadCounts, counter::UnreadCounter};
use crate::{Live, Subscription, View};

type Counters<'a> = HashMap<RoomNid, UnreadCounter<'a>>;

impl Subscription {
    /// The unread notifications of the user in each joined room of a view.
    ///
    /// Counting resumes from the last count with the cached events; what is not cached is read for
    /// all rooms together, and shared with other users of the rooms.
    pub async fn count_unread(
        &self,
        view: &View,
    ) -> Result<HashMap<RoomNid, Arc<UnreadCounts>>, Error> {
        let mut unread = HashMap::new();
        let mut counters = Counters::new();
        for (room_nid, room) in &view.rooms {
            let membership = view.user.room(*room_nid);
            let Some(membership) =
                membership.filter(|room| room.membership == MembershipState::Join)
            else {
                continue;
            };
            let joined = membership.position;
            let mut counter = UnreadCounter::new(view, room, joined);
            match self.known_unread_counts(*room_nid) {
                Some(before) if counter.is_unchanged_from(&before) => {
                    unread.insert(*room_nid, before);
                }
                before => {
                    counter.begin(before.as_deref());
                    counters.insert(*room_nid, counter);
                }
            }
        }
        if counters.values().any(|counter| counter.missing().is_some()) {
            self.begin_with_stored(&mut counters).await?;
        }
        count_history(self.live(), &mut counters).await?;
        resolve_threads(self.live(), &mut counters).await?;
        for (room_nid, counter) in counters {
            let is_costly = counter.is_costly();
            let counts = Arc::new(counter.finish());
            self.remember_unread_counts(room_nid, &counts, is_costly);
            unread.insert(room_nid, counts);
        }
        Ok(unread)
    }

    fn known_unread_counts(&self, room_nid: RoomNid) -> Option<Arc<UnreadCounts>> {
        self.known_counts().lock().counts.get(&room_nid).cloned()
    }

    /// Begins with the stored counts where the cache does not hold what is to be counted.
    async fn begin_with_stored(&self, counters: &mut Counters<'_>) -> Result<(), Error> {
        self.load_unread_counts().await?;
        for (room_nid, counter) in counters {
            if counter.missing().is_some() {
                counter.begin(self.known_unread_counts(*room_nid).as_deref());
            }
        }
        Ok(())
    }
}

/// Counts what is not cached.
async fn count_history(live: &Live, counters: &mut Counters<'_>) -> Result<(), Error> {
    let all = counters.keys().copied().collect();
    let invalid = visit_history(live, counters, all).await?;
    for room_nid in &invalid {
        if let Some(counter) = counters.get_mut(room_nid) {
            counter.begin(None);
        }
    }
    // Without a previous count there is nothing that could be invalid.
    visit_history(live, counters, invalid).await?;
    Ok(())
}

/// Lets counters of rooms visit what is not cached; returns the rooms whose previous count turns out
/// to be invalid.
async fn visit_history(
    live: &Live,
    counters: &mut Counters<'_>,
    room_nids: Vec<RoomNid>,
) -> Result<Vec<RoomNid>, Error> {
    let missing = room_nids.iter().filter_map(|room_nid| {
        let counter = counters.get(room_nid)?;
        Some((counter.room(), counter.missing()?))
    });
    let missing: Vec<_> = missing.collect();
    let mut complete = HashMap::new();
    if !missing.is_empty() {
        let visited = live.visit_history(missing, |room_nid, event| {
            if let Some(counter) = counters.get_mut(&room_nid) {
                counter.visit(event);
            }
        });
        complete = visited.await?;
    }
    let is_invalid = |room_nid: &RoomNid| {
        let complete_after = complete.get(room_nid).copied();
        let counter = counters.get(room_nid);
        counter.is_some_and(|counter| !counter.is_valid(complete_after))
    };
    Ok(room_nids.into_iter().filter(is_invalid).collect())
}

/// Finds the threads of events that relate to events which are not cached.
async fn resolve_threads(live: &Live, counters: &mut Counters<'_>) -> Result<(), Error> {
    let unresolved: HashMap<RoomNid, Vec<OwnedEventId>> = counters
        .iter()
        .map(|(room_nid, counter)| (*room_nid, counter.unresolved_parents().cloned().collect()))
        .filter(|(_, parents): &(_, Vec<_>)| !parents.is_empty())
        .collect();
    if unresolved.is_empty() {
        return Ok(());
    }
    let threads = live.resolve_threads(&unresolved).await?;
    for counter in counters.values_mut() {
        counter.resolve(&threads);
    }
    Ok(())
}
