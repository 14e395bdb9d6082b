//! Stores counts beside the stream now and then, so that a restarted process continues from them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use ruma::OwnedUserId;
use storage::{
    Error,
    unread_counts::{self, MAIN_THREAD, RoomCounts, ThreadCounts},
};
use tokio::sync::Notify;
use types::RoomNid;

use super::{NotificationCount, ReadUpTo, Thread, UnreadCounts};
use crate::{Live, Subscription};

/// How long a count waits at most until it is stored.
const INTERVAL: Duration = Duration::from_mins(1);
/// How many counts wait at most.
const MAX_WAITING: usize = 10_000;
/// How many counts are stored in one transaction.
const BATCH_SIZE: usize = 500;

/// Counts that changed since they were stored.
#[derive(Debug, Default)]
pub(crate) struct UnstoredCounts {
    waiting: Mutex<HashMap<(OwnedUserId, RoomNid), Arc<UnreadCounts>>>,
    is_full: Notify,
}

impl UnstoredCounts {
    fn push(&self, user_id: OwnedUserId, room_nid: RoomNid, counts: Arc<UnreadCounts>) {
        let mut waiting = self.waiting.lock();
        waiting.insert((user_id, room_nid), counts);
        if waiting.len() >= MAX_WAITING {
            self.is_full.notify_one();
        }
    }

    fn take_batch(&self) -> Vec<(OwnedUserId, RoomCounts)> {
        let mut waiting = self.waiting.lock();
        let keys: Vec<_> = waiting.keys().take(BATCH_SIZE).cloned().collect();
        let taken = keys.into_iter().filter_map(|key| {
            let counts = waiting.remove(&key)?;
            Some((key.0, counts.to_stored(key.1)))
        });
        taken.collect()
    }
}

impl Live {
    /// Stores the counts that changed since they were last stored, if counting them again would cost
    /// reads.
    pub async fn store_unread_counts(&self) -> Result<(), Error> {
        loop {
            let mut batch = self.0.unstored_counts.take_batch();
            if batch.is_empty() {
                return Ok(());
            }
            // In the order of the key, as other processes do it.
            batch.sort_by(|(user_id, room), (other_id, other)| {
                (user_id, room.room_nid).cmp(&(other_id, other.room_nid))
            });
            let mut tx = self.0.database.begin().await?;
            unread_counts::store(&mut tx, &batch).await?;
            tx.commit().await?;
        }
    }

    /// Stores counts now and then. What is not stored after a failure is counted again after a restart.
    pub(crate) async fn keep_unread_counts_stored(&self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.0.unstored_counts.is_full.notified() => {}
            }
            if let Err(error) = self.store_unread_counts().await {
                tracing::warn!(%error, "Unread counts could not be stored");
            }
        }
    }
}

impl Subscription {
    /// Loads the counts of the user that were stored, once: one query.
    pub(super) async fn load_unread_counts(&self) -> Result<(), Error> {
        if self.known_counts().lock().is_loaded {
            return Ok(());
        }
        let mut db = self.live().0.database.acquire().await?;
        let stored = unread_counts::of_user(&mut db, self.user_id()).await?;
        drop(db);
        let mut known = self.known_counts().lock();
        known.is_loaded = true;
        for room in stored {
            let counts = || Arc::new(UnreadCounts::of_stored(&room));
            known.counts.entry(room.room_nid).or_insert_with(counts);
        }
        Ok(())
    }

    /// Remembers a count; one that costs reads to count again is to be stored.
    pub(super) fn remember_unread_counts(
        &self,
        room_nid: RoomNid,
        counts: &Arc<UnreadCounts>,
        is_costly: bool,
    ) {
        self.known_counts()
            .lock()
            .counts
            .insert(room_nid, counts.clone());
        if is_costly {
            let unstored = &self.live().0.unstored_counts;
            unstored.push(self.user_id().to_owned(), room_nid, counts.clone());
        }
    }
}

impl UnreadCounts {
    fn to_stored(&self, room_nid: RoomNid) -> RoomCounts {
        let mut threads: BTreeMap<&Thread, ThreadCounts> = BTreeMap::new();
        let main = (&Thread::Main, NotificationCount::default());
        let counts = self.counts.iter().map(|(thread, count)| (thread, *count));
        let read = self.read.threads.keys();
        let read = read.map(|thread| (thread, NotificationCount::default()));
        for (thread, count) in counts.chain(read).chain([main]) {
            threads.entry(thread).or_insert_with(|| ThreadCounts {
                thread_id: match thread {
                    Thread::Main => MAIN_THREAD.to_owned(),
                    Thread::Of(root) => root.to_string(),
                },
                read_up_to: self.read.threads.get(thread).copied(),
                notifications: count.notifications,
                highlights: count.highlights,
            });
        }
        RoomCounts {
            room_nid,
            until: self.until,
            settings_changed: self.settings_changed,
            read_up_to: self.read.unthreaded,
            threads: threads.into_values().collect(),
        }
    }

    fn of_stored(stored: &RoomCounts) -> Self {
        let mut read = ReadUpTo {
            unthreaded: stored.read_up_to,
            ..ReadUpTo::default()
        };
        let mut counts = BTreeMap::new();
        for stored in &stored.threads {
            let thread = match &*stored.thread_id {
                MAIN_THREAD => Thread::Main,
                root => match root.try_into() {
                    Ok(root) => Thread::Of(root),
                    Err(_) => continue,
                },
            };
            if let Some(order) = stored.read_up_to {
                read.advance(Some(thread.clone()), order);
            }
            if stored.notifications > 0 {
                let count = NotificationCount {
                    notifications: stored.notifications,
                    highlights: stored.highlights,
                };
                counts.insert(thread, count);
            }
        }
        Self {
            until: stored.until,
            settings_changed: stored.settings_changed,
            read,
            counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_event_id;
    use types::{HistoryOrder, StreamPosition};

    use super::*;

    #[test]
    fn stored_counts_survive_the_round_trip() {
        let order = |position| HistoryOrder::of(StreamPosition(position));
        let count = |notifications, highlights| NotificationCount {
            notifications,
            highlights,
        };
        let (one, two) = (owned_event_id!("$one"), owned_event_id!("$two"));
        let mut read = ReadUpTo::since(StreamPosition(10));
        read.advance(Some(Thread::Of(one.clone())), order(30));
        for main in [None, Some(count(3, 1))] {
            let threads = [
                (Thread::Of(one.clone()), count(1, 0)),
                (Thread::Of(two.clone()), count(2, 2)),
            ];
            let mut counts: BTreeMap<_, _> = threads.into_iter().collect();
            counts.extend(main.map(|count| (Thread::Main, count)));
            let before = UnreadCounts {
                until: StreamPosition(40),
                settings_changed: StreamPosition(5),
                read: read.clone(),
                counts,
            };
            let after = UnreadCounts::of_stored(&before.to_stored(RoomNid(1)));
            assert_eq!(after, before);
        }
    }
}
