//! The timeline section of a room.

use std::sync::Arc;

use live::{Room, TimelineEvent, User, UserVisibility};
use storage::{StoredEvent, events::Span};
use types::{EventNid, HistoryOrder, StreamPosition};

use crate::filter::Filter;

/// Events read at once if the filter excludes some.
const FILTERED_BATCH: i64 = 200;

/// The last events of a range that are visible and pass the filter, oldest first.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) events: Vec<Arc<TimelineEvent>>,
    /// Whether events of the range are left out.
    pub(crate) limited: bool,
    /// The place that `prev_batch` stands for.
    pub(crate) prev: HistoryOrder,
    after: StreamPosition,
    until: StreamPosition,
    limit: usize,
}

/// Decides whether an event is included.
#[derive(Clone, Copy)]
pub(crate) struct TimelineFilter<'a> {
    pub(crate) user: &'a User,
    pub(crate) filter: &'a Filter,
    /// None: the user was joined all the time.
    pub(crate) visibility: Option<&'a UserVisibility>,
    /// A user who never was in the room sees how the own membership changed, as nothing else of the
    /// room can be read.
    pub(crate) never_joined: bool,
}

impl TimelineFilter<'_> {
    fn passes(&self, event: &StoredEvent) -> bool {
        let pdu = &event.pdu;
        self.filter.timeline.allows_event(pdu)
            && (pdu.is_state() || !self.user.ignores(pdu.sender()))
            && self.visibility.is_none_or(|visibility| {
                visibility.is_own_membership(event)
                    || (!self.never_joined && visibility.may_see(event))
            })
    }
}

impl Timeline {
    /// The cached events with `after < position <= until`.
    pub(crate) fn recent(
        room: &Room,
        timeline_filter: TimelineFilter<'_>,
        after: StreamPosition,
        until: StreamPosition,
    ) -> Self {
        let limit = if timeline_filter.filter.timeline.allows_room(room.room_id()) {
            timeline_filter.filter.timeline_limit
        } else {
            0
        };
        let mut timeline = Self {
            events: Vec::new(),
            limited: false,
            prev: HistoryOrder::of(until),
            after,
            until,
            limit,
        };
        let range = room.timeline().rev().filter(|timeline_event| {
            let position = timeline_event.position();
            after < position && position <= until
        });
        timeline.extend_back(range.cloned(), timeline_filter);
        timeline
    }

    /// The range to read from the database in order to fill the timeline.
    pub(crate) fn missing(&self, room: &Room) -> Option<Span> {
        let wanted =
            !self.limited && self.events.len() < self.limit && !room.timeline_covers(self.after);
        wanted.then(|| Span {
            room_nid: room.room_nid(),
            after: self.after,
            until: room.timeline_start().min(self.until),
        })
    }

    /// How many events to read for each timeline that is too short.
    pub(crate) fn read_limit(filter: &Filter) -> i64 {
        let limit = filter.timeline_limit as i64 + 1;
        if filter.timeline.allows_all_events() {
            limit
        } else {
            limit.max(FILTERED_BATCH)
        }
    }

    /// Takes older events, oldest first, as read with a limit.
    pub(crate) fn extend(
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

    /// Adds events going back, until the limit is reached and one more is found.
    fn extend_back(
        &mut self,
        newest_first: impl Iterator<Item = Arc<TimelineEvent>>,
        timeline_filter: TimelineFilter<'_>,
    ) {
        self.events.reverse();
        for timeline_event in newest_first {
            if !timeline_filter.passes(timeline_event.event()) {
                continue;
            }
            if self.events.len() >= self.limit {
                self.limited = true;
                break;
            }
            self.prev = HistoryOrder::of(timeline_event.position()).before();
            self.events.push(timeline_event);
        }
        self.events.reverse();
    }

    /// Sets `limited` if the database holds more events of the range.
    pub(crate) fn detect_gap(&mut self, room: &Room) {
        if !room.timeline_covers(self.after) && self.events.len() >= self.limit {
            self.limited = true;
        }
    }

    /// Leaves out an event and all events before it.
    pub(crate) fn cut_through(&mut self, event: EventNid) {
        let is_cut = |timeline_event: &Arc<TimelineEvent>| timeline_event.event().nid == event;
        if let Some(index) = self.events.iter().position(is_cut) {
            let cut = self.events.drain(..=index).next_back();
            self.prev = cut.map_or(self.prev, |cut| HistoryOrder::of(cut.position()));
            self.limited = true;
        }
    }

    /// Whether the timeline contains an event.
    pub(crate) fn contains(&self, event: EventNid) -> bool {
        self.events
            .iter()
            .any(|timeline_event| timeline_event.event().nid == event)
    }
}
