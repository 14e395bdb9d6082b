//! Counting in one room for one user.

mod resume;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use event::{Pdu, push::PushDecision};
use ruma::{OwnedEventId, UserId, push::FlattenedJson};
use types::{HistoryOrder, StreamPosition};

use self::resume::UnrecordedRedactions;
use super::{
    NotificationCount, ReadUpTo, Thread, UnreadCounts,
    history::{HistoryEvent, HistoryRange},
    thread::EventThread,
};
use crate::{PushEvaluator, Room, TimelineEvent, View};

/// How many unread events are counted again after a restart without reading any: fewer than a room is
/// loaded with.
const COSTLY: usize = 16;

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
    /// Nothing: all that is unread is counted.
    Empty,
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
    /// What is to be read of the history before the cached timeline.
    missing: Option<HistoryRange>,
    redactions: Option<UnrecordedRedactions>,
    counts: BTreeMap<Thread, NotificationCount>,
    pending: Vec<PendingEvent>,
}

impl<'a> UnreadCounter<'a> {
    /// A count for the user of a view, who joined the room at a position.
    pub(super) fn new(view: &'a View, room: &'a Room, joined: StreamPosition) -> Self {
        let user = &*view.user;
        let member = view.member(room, user.user_id());
        Self {
            room,
            user_id: user.user_id(),
            push_evaluator: PushEvaluator::new(user, room, member.map(|member| &**member)),
            until: HistoryOrder::of(view.position),
            settings_changed: user.notification_settings_changed(),
            read: room.read_up_to(user.user_id(), joined),
            base: CountBase::Empty,
            missing: None,
            redactions: None,
            counts: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// Whether counting again after a restart would cost reads.
    pub(super) fn is_costly(&self) -> bool {
        let read = self.read.unthreaded.position();
        let is_unread = |event: &&Arc<TimelineEvent>| event.position() > read;
        let room = self.room;
        !room.timeline_covers(read) || room.timeline().rev().take_while(is_unread).count() >= COSTLY
    }

    /// The room.
    pub(super) fn room(&self) -> &'a Room {
        self.room
    }

    /// Whether the count is the same as the previous one.
    pub(super) fn is_unchanged_from(&self, before: &UnreadCounts) -> bool {
        self.until <= HistoryOrder::of(before.until)
            && self.read == before.read
            && self.settings_changed == before.settings_changed
    }

    /// Begins with the previous count, as far as it is valid, and the cached events.
    pub(super) fn begin(&mut self, before: Option<&UnreadCounts>) {
        self.base = CountBase::Empty;
        self.missing = None;
        self.redactions = None;
        self.counts.clear();
        self.pending.clear();
        if let Some(before) = before {
            self.resume_from(before);
        }
        let after = self.start();
        if !self.room.timeline_covers(after.position()) {
            let after_main = match self.base {
                CountBase::Empty => self.read.in_thread(&Thread::Main),
                CountBase::Previous(..) => after,
            };
            self.missing = Some(HistoryRange { after, after_main });
        }
        self.count_cached(after);
    }

    /// Everything after this is to be counted.
    fn start(&self) -> HistoryOrder {
        match &self.base {
            CountBase::Empty => self.read.unthreaded,
            CountBase::Previous(recounted, until) => {
                let recounted = recounted.iter().map(|thread| self.read.in_thread(thread));
                recounted.chain([*until]).min().unwrap_or(*until)
            }
        }
    }

    /// What is to be visited of the history before the cached timeline.
    pub(super) fn missing(&self) -> Option<HistoryRange> {
        self.missing
    }

    /// Counts an event of the history.
    pub(super) fn visit(&mut self, event: &HistoryEvent) {
        // Newer ones are cached.
        if event.order > HistoryOrder::of(self.room.timeline_start()) {
            return;
        }
        if let Some(redactions) = &mut self.redactions {
            redactions.push(event.order, &event.pdu);
        }
        self.count_event(event.order, &event.pdu, event.is_redacted, || {
            event.flattened()
        });
    }

    /// Whether the count stands, now that everything after `complete_after` was visited; otherwise it
    /// is to begin anew, without the previous one.
    pub(super) fn is_valid(&self, complete_after: Option<HistoryOrder>) -> bool {
        let is_gap = matches!(self.base, CountBase::Previous(..));
        let missing = self.missing.filter(|_| is_gap);
        let is_complete = missing
            .is_none_or(|range| complete_after.is_some_and(|complete| complete <= range.after));
        let redactions = self.redactions.as_ref();
        is_complete && redactions.is_none_or(UnrecordedRedactions::are_uncounted)
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

    /// Takes in the threads of events.
    pub(super) fn resolve(&mut self, threads: &HashMap<OwnedEventId, EventThread>) {
        for pending in &mut self.pending {
            if let EventThread::SameAs(parent) = &pending.event_thread
                && let Some(thread) = threads.get(parent)
            {
                pending.event_thread = thread.clone();
            }
        }
    }

    /// The count.
    pub(super) fn finish(self) -> UnreadCounts {
        let mut counts = self.counts;
        let mut own: BTreeMap<Thread, HistoryOrder> = BTreeMap::new();
        let mut unread = Vec::new();
        for pending in self.pending {
            // What is further away from a thread counts as outside of all.
            let thread = match pending.event_thread {
                EventThread::Known(thread) => thread,
                EventThread::SameAs(_) => Thread::Main,
            };
            if !is_countable(&self.base, &self.read, &thread, pending.order) {
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

    /// Counts the cached events after a place.
    fn count_cached(&mut self, after: HistoryOrder) {
        let room = self.room;
        for timeline_event in room.timeline().rev() {
            let order = HistoryOrder::of(timeline_event.position());
            if order <= after {
                break;
            }
            if let Some(redactions) = &mut self.redactions {
                redactions.push(order, timeline_event.pdu());
            }
            let is_redacted = timeline_event.event().redacted_because.is_some();
            self.count_event(order, timeline_event.pdu(), is_redacted, || {
                timeline_event.flattened()
            });
        }
    }

    fn count_event<'e>(
        &mut self,
        order: HistoryOrder,
        pdu: &Pdu,
        is_redacted: bool,
        flattened: impl FnOnce() -> &'e FlattenedJson,
    ) {
        let event_thread = EventThread::in_room(self.room, pdu);
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
            match self.push_evaluator.evaluate_flattened(pdu, flattened) {
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
                EventThread::Known(thread) => is_countable(&self.base, &self.read, thread, order),
                EventThread::SameAs(_) => order > self.read.unthreaded,
            }
    }
}

/// Whether an event of a thread is neither read nor counted already.
fn is_countable(base: &CountBase, read: &ReadUpTo, thread: &Thread, order: HistoryOrder) -> bool {
    let is_uncounted = match base {
        CountBase::Empty => true,
        CountBase::Previous(recounted, until) => order > *until || recounted.contains(thread),
    };
    is_uncounted && order > read.in_thread(thread)
}
