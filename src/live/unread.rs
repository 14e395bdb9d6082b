//! Unread notification counts of a user in a room, and the read position they rest on.
//!
//! Counts are computed on read, starting from the last count. They are stored now and then, which
//! costs a message nothing, so that a restarted process starts from there. Spec: client-server, "Receiving notifications" and "Marking notifications as read".

mod count;
mod counter;
pub(crate) mod history;
pub(crate) mod store;
pub(crate) mod thread;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::OwnedEventId;
use types::{HistoryOrder, RoomNid, StreamPosition};

use crate::TimelineEvent;

/// The most unread events counted in a room without a previous count; the newest are counted.
const MAX_COUNTED: usize = 1_000;

/// A thread, which has receipts and counts of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thread {
    /// The main timeline: events that are in no thread.
    Main,
    /// A thread, by its root.
    Of(OwnedEventId),
}

/// How far a user has read a room, according to its receipts and its join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadUpTo {
    /// By unthreaded receipts.
    pub unthreaded: HistoryOrder,
    /// By threaded receipts that are further ahead.
    threads: BTreeMap<Thread, HistoryOrder>,
}

impl ReadUpTo {
    /// Starts at the join.
    pub(crate) fn since(joined: StreamPosition) -> Self {
        Self {
            unthreaded: HistoryOrder::of(joined),
            threads: BTreeMap::new(),
        }
    }

    /// Applies a receipt, threaded or not, unless it is for an earlier event.
    pub(crate) fn advance(&mut self, thread: Option<Thread>, order: HistoryOrder) {
        let up_to = match thread {
            Some(thread) => self.threads.entry(thread).or_insert(HistoryOrder::MIN),
            None => &mut self.unthreaded,
        };
        *up_to = order.max(*up_to);
        let unthreaded = self.unthreaded;
        self.threads.retain(|_, up_to| *up_to > unthreaded);
    }

    /// How far a thread was read.
    pub fn in_thread(&self, thread: &Thread) -> HistoryOrder {
        let up_to = self.threads.get(thread).copied();
        up_to.unwrap_or(self.unthreaded).max(self.unthreaded)
    }

    /// Whether events are unread that were read according to `before`.
    pub fn is_older_than(&self, before: &Self) -> bool {
        self.unthreaded < before.unthreaded
            || before
                .threads
                .iter()
                .any(|(thread, up_to)| self.in_thread(thread) < *up_to)
    }
}

/// Unread notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotificationCount {
    /// All of them.
    pub notifications: u64,
    /// Those with a highlight.
    pub highlights: u64,
}

/// The redaction of an event that may have been counted as unread.
#[derive(Debug)]
pub struct RecentRedaction {
    /// The position of the redaction.
    pub redacted_at: StreamPosition,
    /// The place of the redacted event in the history.
    pub target_order: Option<HistoryOrder>,
    /// The event before the redaction, if it was cached.
    pub original: Option<Arc<TimelineEvent>>,
}

/// The unread counts of a user in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadCounts {
    /// Events up to here are counted.
    pub until: StreamPosition,
    /// When the push rules and ignored users they rest on last changed.
    pub settings_changed: StreamPosition,
    /// How far the user had read.
    pub read: ReadUpTo,
    /// Threads without unread notifications are left out.
    pub counts: BTreeMap<Thread, NotificationCount>,
}

impl UnreadCounts {
    /// The unread notifications of all threads together.
    pub fn total(&self) -> NotificationCount {
        let mut total = NotificationCount::default();
        for count in self.counts.values() {
            total.notifications += count.notifications;
            total.highlights += count.highlights;
        }
        total
    }
}

/// The last counts of a user by room.
#[derive(Debug, Default)]
pub(crate) struct KnownCounts {
    counts: HashMap<RoomNid, Arc<UnreadCounts>>,
    /// Whether those that were stored are among them.
    is_loaded: bool,
}

#[cfg(test)]
mod tests {
    use ruma::owned_event_id;

    use super::*;

    fn order(position: i64) -> HistoryOrder {
        HistoryOrder::of(StreamPosition(position))
    }

    fn thread() -> Thread {
        Thread::Of(owned_event_id!("$root"))
    }

    fn read(receipts: &[(Option<Thread>, i64)]) -> ReadUpTo {
        let mut read = ReadUpTo::since(StreamPosition(10));
        for (thread, position) in receipts {
            read.advance(thread.clone(), order(*position));
        }
        read
    }

    #[test]
    fn nothing_before_the_join_is_unread() {
        let read = read(&[(None, 5), (Some(thread()), 7)]);
        assert_eq!(read, ReadUpTo::since(StreamPosition(10)));
    }

    #[test]
    fn thread_is_read_up_to_the_furthest_receipt_of_any_type() {
        let read = read(&[(Some(thread()), 30), (None, 20), (Some(Thread::Main), 15)]);
        assert_eq!(read.in_thread(&thread()), order(30));
        assert_eq!(read.in_thread(&Thread::Main), order(20));
        let other = Thread::Of(owned_event_id!("$other"));
        assert_eq!(read.in_thread(&other), order(20));
    }

    #[test]
    fn read_positions_of_the_receipt_types_are_combined() {
        let threaded = read(&[(Some(thread()), 30)]);
        let unthreaded = read(&[(None, 40)]);
        assert!(!unthreaded.is_older_than(&threaded));
        assert!(threaded.is_older_than(&unthreaded));
        assert!(read(&[(None, 20)]).is_older_than(&threaded));
    }
}
