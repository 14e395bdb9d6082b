//! How much of a room a user has not read: what was counted, and what the count rests on.
//!
//! Nothing is written for it: whoever tells a user of a room counts, from where the last count
//! ended. Spec: client-server, "Receiving notifications" and "Marking notifications as read".

use std::{collections::BTreeMap, sync::Arc};

use ruma::OwnedEventId;
use types::StreamPosition;

use crate::Moment;

/// A part of a room that is read on its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thread {
    /// All that is in no thread.
    Main,
    /// A thread, by its root.
    Of(OwnedEventId),
}

/// How far a user has read a room, as receipts and the user's joining tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadUpTo {
    /// In all threads.
    pub everywhere: StreamPosition,
    /// In those that were read further than that.
    threads: BTreeMap<Thread, StreamPosition>,
}

impl ReadUpTo {
    /// Begins where the user joined.
    pub(crate) fn since(joined: StreamPosition) -> Self {
        Self {
            everywhere: joined,
            threads: BTreeMap::new(),
        }
    }

    /// Takes in a receipt, bound to a thread or not; the one that is further ahead counts.
    pub(crate) fn receipt(&mut self, thread: Option<Thread>, position: StreamPosition) {
        let up_to = match thread {
            Some(thread) => self.threads.entry(thread).or_default(),
            None => &mut self.everywhere,
        };
        *up_to = position.max(*up_to);
        let everywhere = self.everywhere;
        self.threads.retain(|_, up_to| *up_to > everywhere);
    }

    /// How far a thread was read.
    pub fn of(&self, thread: &Thread) -> StreamPosition {
        let up_to = self.threads.get(thread).copied().unwrap_or_default();
        up_to.max(self.everywhere)
    }

    /// Whether something counts as unread that was read before.
    pub fn falls_behind(&self, before: &Self) -> bool {
        self.everywhere < before.everywhere
            || before
                .threads
                .iter()
                .any(|(thread, up_to)| self.of(thread) < *up_to)
    }
}

/// Unread events that the user is to be notified of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub notifications: u64,
    /// Those that stand out.
    pub highlights: u64,
}

/// An event that was redacted after it may have been counted.
#[derive(Debug)]
pub struct Undone {
    /// When.
    pub at: StreamPosition,
    /// Where it stood; 0 when it is not part of the timeline.
    pub target: StreamPosition,
    /// What it was, if that was at hand.
    pub was: Option<Arc<Moment>>,
}

/// What was counted in a room for a user.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Events up to here are counted.
    pub until: StreamPosition,
    /// When the user's wishes, by which they were judged, last changed.
    pub wishes: StreamPosition,
    /// How far the user had read.
    pub read: ReadUpTo,
    /// Threads without unread notifications are left out.
    pub counts: BTreeMap<Thread, Count>,
}

#[cfg(test)]
mod tests {
    use ruma::owned_event_id;

    use super::*;

    fn thread() -> Thread {
        Thread::Of(owned_event_id!("$root"))
    }

    fn read(receipts: &[(Option<Thread>, i64)]) -> ReadUpTo {
        let mut read = ReadUpTo::since(StreamPosition(10));
        for (thread, position) in receipts {
            read.receipt(thread.clone(), StreamPosition(*position));
        }
        read
    }

    #[test]
    fn nothing_before_the_join_is_unread() {
        let read = read(&[(None, 5), (Some(thread()), 7)]);
        assert_eq!(read, ReadUpTo::since(StreamPosition(10)));
    }

    #[test]
    fn thread_is_read_as_far_as_either_kind_of_receipt_says() {
        let read = read(&[(Some(thread()), 30), (None, 20), (Some(Thread::Main), 15)]);
        assert_eq!(read.of(&thread()), StreamPosition(30));
        assert_eq!(read.of(&Thread::Main), StreamPosition(20));
        let other = Thread::Of(owned_event_id!("$other"));
        assert_eq!(read.of(&other), StreamPosition(20));
    }

    #[test]
    fn reading_on_in_one_way_does_not_fall_behind_in_another() {
        let threaded = read(&[(Some(thread()), 30)]);
        let everywhere = read(&[(None, 40)]);
        assert!(!everywhere.falls_behind(&threaded));
        assert!(threaded.falls_behind(&everywhere));
        assert!(read(&[(None, 20)]).falls_behind(&threaded));
    }
}
