//! Counting in one room for one user.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use event::{
    Pdu, Relation,
    push::{self, PushDecision},
};
use live::{NotificationCount, ReadUpTo, Room, Thread, UnreadCounts};
use ruma::{OwnedEventId, UserId, push::FlattenedJson};
use storage::events::Unread;
use types::{HistoryOrder, StreamPosition};

use super::{MAX_RELATION_DEPTH, push_evaluator::PushEvaluator};
use crate::context::SyncContext;

/// The thread of an event.
#[derive(Clone, Debug)]
pub(super) enum EventThread {
    Known(Thread),
    /// The same thread as this event, which is not known yet.
    SameAs(OwnedEventId),
}

impl EventThread {
    /// The thread of an event with this relation.
    pub(super) fn from_relation(relation: Option<Relation>) -> Self {
        match relation {
            Some(relation) if relation.is_thread() => Self::Known(Thread::Of(relation.event_id)),
            Some(relation) => Self::SameAs(relation.event_id),
            None => Self::Known(Thread::Main),
        }
    }
}

/// An event that affects the count.
struct PendingEvent {
    order: HistoryOrder,
    event_thread: EventThread,
    effect: EventEffect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EventEffect {
    /// It is unread, and the user is to be notified.
    Unread { highlight: bool },
    /// The user sent it, and so has read its thread up to here.
    Own,
}

/// What of the last count is kept.
enum CountBase {
    /// Nothing: all that is unread is counted, from memory or the database.
    Empty { in_memory: bool },
    /// All but what was counted in these threads, which were read further since.
    Previous(BTreeSet<Thread>, HistoryOrder),
}

/// A count in progress.
pub(super) struct UnreadCounter<'a> {
    room: &'a Room,
    user_id: &'a UserId,
    push_evaluator: PushEvaluator<'a>,
    until: HistoryOrder,
    settings_changed: StreamPosition,
    read: ReadUpTo,
    base: CountBase,
    counts: BTreeMap<Thread, NotificationCount>,
    pending: Vec<PendingEvent>,
}

impl<'a> UnreadCounter<'a> {
    /// Starts from the previous count, as far as it is valid, and counts the cached events.
    pub(super) fn new(
        context: &SyncContext<'a>,
        room: &'a Room,
        joined: StreamPosition,
        before: Option<&UnreadCounts>,
    ) -> Self {
        let user = &*context.view.user;
        let read = room.read_up_to(user.user_id(), joined);
        let settings_changed = user.notification_settings_changed();
        let in_memory = room.timeline_covers(read.unthreaded.position());
        let mut counter = Self {
            room,
            user_id: context.user_id,
            push_evaluator: PushEvaluator::new(
                user,
                room,
                context.view.member(room, context.user_id),
            ),
            until: HistoryOrder::of(context.view.position),
            settings_changed,
            read,
            base: CountBase::Empty { in_memory },
            counts: BTreeMap::new(),
            pending: Vec::new(),
        };
        if let Some(before) = before {
            counter.resume_from(before);
        }
        counter.count_cached();
        counter
    }

    /// Resumes from the previous count, as far as it is valid.
    fn resume_from(&mut self, before: &UnreadCounts) {
        let holds = before.settings_changed == self.settings_changed
            && self.room.is_continuous_from(before.until)
            && !self.read.is_older_than(&before.read);
        if !holds {
            return;
        }
        let recounted: BTreeSet<Thread> = before
            .counts
            .keys()
            .filter(|thread| self.read.in_thread(thread) != before.read.in_thread(thread))
            .cloned()
            .collect();
        if !recounted.iter().all(|thread| {
            self.room
                .timeline_covers(self.read.in_thread(thread).position())
        }) {
            return;
        }
        let mut counts = before.counts.clone();
        counts.retain(|thread, _| !recounted.contains(thread));
        if self.subtract_redacted(&mut counts, &recounted, before.until) {
            self.counts = counts;
            self.base = CountBase::Previous(recounted, HistoryOrder::of(before.until));
        }
    }

    /// Subtracts events redacted since from the counts that are kept; `false` if one of them is
    /// not cached.
    fn subtract_redacted(
        &mut self,
        counts: &mut BTreeMap<Thread, NotificationCount>,
        recounted: &BTreeSet<Thread>,
        until: StreamPosition,
    ) -> bool {
        let room = self.room;
        let redactions = room.redactions_after(until);
        let until = HistoryOrder::of(until);
        for redaction in redactions {
            let Some(target) = redaction.target_order else {
                continue;
            };
            if counts.is_empty() || target > until || target <= self.read.unthreaded {
                continue;
            }
            let Some(original) = redaction
                .original
                .as_ref()
                .filter(|_| room.timeline_covers(target.position()))
            else {
                return false;
            };
            let EventThread::Known(thread) = self.thread_of(original.pdu()) else {
                return false;
            };
            let counted = target > self.read.in_thread(&thread)
                && !recounted.contains(&thread)
                && !self.has_own_event_between(&thread, target, until);
            if !counted || original.pdu().sender() == self.user_id {
                continue;
            }
            let decision = self
                .push_evaluator
                .evaluate(original.pdu(), original.flattened());
            if decision == PushDecision::Silent {
                continue;
            }
            if let Some(count) = counts.get_mut(&thread) {
                count.notifications = count.notifications.saturating_sub(1);
                let highlights = u64::from(decision == PushDecision::Highlight);
                count.highlights = count.highlights.saturating_sub(highlights);
                if count.notifications == 0 {
                    counts.remove(&thread);
                }
            }
        }
        true
    }

    /// Whether the user sent an event in a thread between two places that the cache covers.
    fn has_own_event_between(
        &self,
        thread: &Thread,
        after: HistoryOrder,
        until: HistoryOrder,
    ) -> bool {
        self.room.timeline().any(|timeline_event| {
            let order = HistoryOrder::of(timeline_event.position());
            let pdu = timeline_event.pdu();
            after < order
                && order <= until
                && pdu.sender() == self.user_id
                && !pdu.is_state()
                && matches!(self.thread_of(pdu), EventThread::Known(of) if of == *thread)
        })
    }

    /// Whether the count is the same as the previous one.
    pub(super) fn is_unchanged_from(&self, before: &UnreadCounts) -> bool {
        self.until <= HistoryOrder::of(before.until)
            && self.read == before.read
            && self.settings_changed == before.settings_changed
    }

    /// What is to be read from the database.
    pub(super) fn missing(&self) -> Option<Unread> {
        matches!(self.base, CountBase::Empty { in_memory: false }).then(|| Unread {
            room_nid: self.room.room_nid(),
            after: self.read.unthreaded,
            after_main: self.read.in_thread(&Thread::Main),
            until: self.until,
        })
    }

    /// Takes in an event from the database.
    pub(super) fn read(&mut self, order: HistoryOrder, pdu: &Pdu) {
        // Of what was redacted only the user's own is read.
        self.count_event(order, pdu, false, || push::flatten(pdu));
    }

    /// The events whose threads are not known.
    pub(super) fn unresolved_parents(&self) -> impl Iterator<Item = &OwnedEventId> {
        self.pending
            .iter()
            .filter_map(|pending| match &pending.event_thread {
                EventThread::SameAs(parent) => Some(parent),
                EventThread::Known(_) => None,
            })
    }

    /// Follows one more relation for events whose threads are not known.
    pub(super) fn follow(&mut self, thread_of: impl Fn(&OwnedEventId) -> EventThread) {
        for pending in &mut self.pending {
            if let EventThread::SameAs(parent) = &pending.event_thread {
                pending.event_thread = thread_of(parent);
            }
        }
    }

    /// The count.
    pub(super) fn finish(mut self) -> UnreadCounts {
        let mut counts = std::mem::take(&mut self.counts);
        let mut own: BTreeMap<Thread, HistoryOrder> = BTreeMap::new();
        let mut unread = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            // What is further away from a thread counts as outside of all.
            let thread = match pending.event_thread {
                EventThread::Known(thread) => thread,
                EventThread::SameAs(_) => Thread::Main,
            };
            if !self.is_countable(&thread, pending.order) {
                continue;
            }
            match pending.effect {
                EventEffect::Own => {
                    let last = own.entry(thread).or_insert(HistoryOrder::MIN);
                    *last = pending.order.max(*last);
                }
                EventEffect::Unread { highlight } => {
                    unread.push((thread, pending.order, highlight));
                }
            }
        }
        counts.retain(|thread, _| !own.contains_key(thread));
        for (thread, order, highlight) in unread {
            if own.get(&thread).is_none_or(|up_to| order > *up_to) {
                let count = counts.entry(thread).or_default();
                count.notifications += 1;
                count.highlights += u64::from(highlight);
            }
        }
        UnreadCounts {
            until: self.until.position(),
            settings_changed: self.settings_changed,
            read: self.read,
            counts,
        }
    }

    /// Counts the cached events that the base does not include.
    fn count_cached(&mut self) {
        let after = match &self.base {
            CountBase::Empty { in_memory: false } => return,
            CountBase::Empty { in_memory: true } => self.read.unthreaded,
            CountBase::Previous(recounted, until) => {
                let recounted = recounted.iter().map(|thread| self.read.in_thread(thread));
                recounted.chain([*until]).min().unwrap_or(*until)
            }
        };
        let room = self.room;
        let recent = room.timeline().rev();
        let recent =
            recent.take_while(|timeline_event| HistoryOrder::of(timeline_event.position()) > after);
        for timeline_event in recent {
            let event = timeline_event.event();
            let is_redacted = event.redacted_because.is_some();
            let order = HistoryOrder::of(timeline_event.position());
            self.count_event(order, timeline_event.pdu(), is_redacted, || {
                timeline_event.flattened()
            });
        }
    }

    fn count_event<F: Borrow<FlattenedJson>>(
        &mut self,
        order: HistoryOrder,
        pdu: &Pdu,
        is_redacted: bool,
        flattened: impl FnOnce() -> F,
    ) {
        let event_thread = self.thread_of(pdu);
        if !self.is_wanted(order, &event_thread) {
            return;
        }
        let effect = if pdu.sender() == self.user_id {
            // A change of name writes to every room, and says nothing of having read them.
            if pdu.is_state() {
                return;
            }
            // Who sent what was redacted had read what was before it all the same.
            EventEffect::Own
        } else if is_redacted {
            return;
        } else {
            match self.push_evaluator.evaluate(pdu, flattened().borrow()) {
                PushDecision::Silent => return,
                decision => EventEffect::Unread {
                    highlight: decision == PushDecision::Highlight,
                },
            }
        };
        self.pending.push(PendingEvent {
            order,
            event_thread,
            effect,
        });
    }

    /// Whether an event may be neither read nor counted already.
    fn is_wanted(&self, order: HistoryOrder, event_thread: &EventThread) -> bool {
        order <= self.until
            && match event_thread {
                EventThread::Known(thread) => self.is_countable(thread, order),
                EventThread::SameAs(_) => order > self.read.unthreaded,
            }
    }

    /// Whether an event of a thread is neither read nor counted already.
    fn is_countable(&self, thread: &Thread, order: HistoryOrder) -> bool {
        let is_uncounted = match &self.base {
            CountBase::Empty { .. } => true,
            CountBase::Previous(recounted, until) => order > *until || recounted.contains(thread),
        };
        is_uncounted && order > self.read.in_thread(thread)
    }

    /// The thread of an event, as far as the cache tells.
    fn thread_of(&self, pdu: &Pdu) -> EventThread {
        let mut event_thread = EventThread::from_relation(pdu.relation());
        for _ in 0..MAX_RELATION_DEPTH {
            let EventThread::SameAs(parent) = &event_thread else {
                break;
            };
            let parent = self
                .room
                .timeline()
                .find(|timeline_event| timeline_event.pdu().event_id() == parent);
            match parent {
                Some(timeline_event) => {
                    event_thread = EventThread::from_relation(timeline_event.pdu().relation());
                }
                None => break,
            }
        }
        event_thread
    }
}
