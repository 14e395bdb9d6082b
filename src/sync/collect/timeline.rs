//! The timeline section of a room.

use std::sync::Arc;

use live::{Room, TimelineEvent, User, UserVisibility};
use storage::{StoredEvent, events::Span};
use types::{EventNid, HistoryOrder, StreamPosition};

use crate::query::TimelineQuery;

/// Events read at once if the filter excludes some.
const FILTERED_BATCH: i64 = 200;

/// The last events of a range that are visible and pass the filter, oldest first.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) events: Vec<Arc<TimelineEvent>>,
    /// Whether events of the range are left out.
    pub(super) limited: bool,
    /// The place that `prev_batch` stands for.
    pub(super) prev: HistoryOrder,
    after: StreamPosition,
    until: StreamPosition,
    limit: usize,
}

/// Decides whether an event is included.
#[derive(Clone, Copy)]
pub(super) struct TimelineFilter<'a> {
    pub(super) user: &'a User,
    pub(super) query: TimelineQuery<'a>,
    /// None: the user was joined all the time.
    pub(super) visibility: Option<&'a UserVisibility>,
    /// A user who never was in the room sees how the own membership changed, as nothing else of the
    /// room can be read.
    pub(super) never_joined: bool,
}

impl TimelineFilter<'_> {
    fn passes(&self, event: &StoredEvent) -> bool {
        let pdu = &event.pdu;
        self.query.filter.allows_event(pdu)
            && (pdu.is_state() || !self.user.ignores(pdu.sender()))
            && self.visibility.is_none_or(|visibility| {
                visibility.is_own_membership(event)
                    || (!self.never_joined && visibility.may_see(event))
            })
    }
}

impl Timeline {
    /// The cached events with `after < position <= until`.
    pub(super) fn recent(
        room: &Room,
        timeline_filter: TimelineFilter<'_>,
        after: StreamPosition,
        until: StreamPosition,
    ) -> Self {
        let mut timeline = Self {
            events: Vec::new(),
            limited: false,
            prev: HistoryOrder::of(until),
            after,
            until,
            limit: timeline_filter.query.limit,
        };
        let range = room.timeline().rev().filter(|timeline_event| {
            let position = timeline_event.position();
            after < position && position <= until
        });
        timeline.extend_back(range.cloned(), timeline_filter);
        timeline
    }

    /// The range to read from the database in order to fill the timeline.
    pub(super) fn missing(&self, room: &Room) -> Option<Span> {
        let wanted =
            !self.limited && self.events.len() < self.limit && !room.timeline_covers(self.after);
        wanted.then(|| Span {
            room_nid: room.room_nid(),
            after: self.after,
            until: room.timeline_start().min(self.until),
        })
    }

    /// How many events to read for each timeline that is too short.
    pub(super) fn read_limit(query: TimelineQuery<'_>) -> i64 {
        let limit = query.limit as i64 + 1;
        if query.filter.allows_all_events() {
            limit
        } else {
            limit.max(FILTERED_BATCH)
        }
    }

    /// Takes older events, oldest first, as read with a limit.
    pub(super) fn extend(
        &mut self,
        older: Vec<StoredEvent>,
        timeline_filter: TimelineFilter<'_>,
        read_limit: i64,
    ) {
        let exhausted = (older.len() as i64) < read_limit;
        let oldest = older.first().and_then(|event| event.history_order);
        self.extend_back(
            older
                .into_iter()
                .rev()
                .map(|event| Arc::new(TimelineEvent::new(event))),
            timeline_filter,
        );
        if !exhausted && !self.limited {
            self.limited = true;
            self.prev = oldest.map_or(self.prev, HistoryOrder::before);
        }
    }

    /// Adds events going back, until the limit is reached and one more is found, or what an event
    /// follows was not known when it came: a client fills that gap from `prev_batch`.
    fn extend_back(
        &mut self,
        newest_first: impl Iterator<Item = Arc<TimelineEvent>>,
        timeline_filter: TimelineFilter<'_>,
    ) {
        self.events.reverse();
        for timeline_event in newest_first {
            let after_gap = timeline_event.event().after_gap;
            let passes = timeline_filter.passes(timeline_event.event());
            if passes && self.events.len() >= self.limit {
                self.limited = true;
                break;
            }
            if passes || after_gap {
                self.prev = HistoryOrder::of(timeline_event.position()).before();
            }
            if passes {
                self.events.push(timeline_event);
            }
            if after_gap {
                self.limited = true;
                break;
            }
        }
        self.events.reverse();
    }

    /// Sets `limited` if the database holds more events of the range.
    pub(super) fn detect_gap(&mut self, room: &Room) {
        if !room.timeline_covers(self.after) && self.events.len() >= self.limit {
            self.limited = true;
        }
    }

    /// Leaves out an event and all events before it.
    pub(super) fn cut_through(&mut self, event: EventNid) {
        let is_cut = |timeline_event: &Arc<TimelineEvent>| timeline_event.event().nid == event;
        if let Some(index) = self.events.iter().position(is_cut) {
            let cut = self.events.drain(..=index).next_back();
            self.prev = cut.map_or(self.prev, |cut| HistoryOrder::of(cut.position()));
            self.limited = true;
        }
    }

    /// Whether the timeline contains an event.
    pub(super) fn contains(&self, event: EventNid) -> bool {
        self.events
            .iter()
            .any(|timeline_event| timeline_event.event().nid == event)
    }
}
