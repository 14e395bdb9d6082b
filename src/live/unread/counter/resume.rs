//! Which part of the previous count is kept.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use event::{Pdu, push::PushDecision};
use ruma::{EventId, OwnedEventId};
use types::{HistoryOrder, StreamPosition};

use super::{CountBase, UnreadCounter};
use crate::unread::{NotificationCount, Thread, UnreadCounts, thread::EventThread};

/// The events since the previous count whose redactions the cached room does not record: a redaction
/// of an event that is not among them may concern what was counted.
#[derive(Default)]
pub(super) struct UnrecordedRedactions {
    since: HistoryOrder,
    events: HashSet<OwnedEventId>,
    targets: HashSet<OwnedEventId>,
}

impl UnrecordedRedactions {
    pub(super) fn push(&mut self, order: HistoryOrder, pdu: &Pdu) {
        if order > self.since {
            self.events.insert(pdu.event_id().clone());
            self.targets.extend(pdu.redacts().map(EventId::to_owned));
        }
    }

    /// Whether none of them concerns what was counted before.
    pub(super) fn are_uncounted(&self) -> bool {
        let mut targets = self.targets.iter();
        targets.all(|target| self.events.contains(target))
    }
}

impl UnreadCounter<'_> {
    /// Resumes from the previous count, as far as it is valid.
    pub(super) fn resume_from(&mut self, before: &UnreadCounts) {
        if before.settings_changed != self.settings_changed
            || self.read.is_older_than(&before.read)
            || HistoryOrder::of(before.until) > self.until
        {
            return;
        }
        let recounted: BTreeSet<Thread> = before
            .counts
            .keys()
            .filter(|thread| self.read.in_thread(thread) != before.read.in_thread(thread))
            .cloned()
            .collect();
        let mut counts = before.counts.clone();
        counts.retain(|thread, _| !recounted.contains(thread));
        if !self.subtract_redacted(&mut counts, &recounted, before.until) {
            return;
        }
        self.counts = counts;
        let since = HistoryOrder::of(before.until);
        self.base = CountBase::Previous(recounted, since);
        if !self.room.is_continuous_from(before.until) {
            self.redactions = Some(UnrecordedRedactions {
                since,
                ..UnrecordedRedactions::default()
            });
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
            let EventThread::Known(thread) = EventThread::in_room(room, original.pdu()) else {
                return false;
            };
            let counted = target > self.read.in_thread(&thread)
                && !recounted.contains(&thread)
                && !self.has_own_event_between(&thread, target, until);
            if !counted {
                continue;
            }
            let decision = self.push_evaluator.evaluate(original);
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
                && matches!(EventThread::in_room(self.room, pdu), EventThread::Known(of) if of == *thread)
        })
    }
}
