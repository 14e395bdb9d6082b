//! The part of a room's timeline that goes into an answer.

use std::sync::Arc;

use live::{Moment, Room, User, sight::Sight};
use storage::{StoredEvent, events::Span};
use types::StreamPosition;

use crate::filter::Filter;

/// Before everything.
pub(crate) const BEGINNING: StreamPosition = StreamPosition(i64::MIN);

/// Events read at once for a filter that lets only some pass.
const SIEVED: i64 = 200;

/// The last events of a stretch that the reader may see and wants, oldest first.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) moments: Vec<Arc<Moment>>,
    /// Whether the reader misses some of the stretch.
    pub(crate) limited: bool,
    /// From here the reader pages back.
    pub(crate) prev: StreamPosition,
    after: StreamPosition,
    until: StreamPosition,
    limit: usize,
}

/// What decides whether an event is shown.
#[derive(Clone, Copy)]
pub(crate) struct Gate<'a> {
    pub(crate) user: &'a User,
    pub(crate) filter: &'a Filter,
    /// None: the user was joined all the time.
    pub(crate) sight: Option<&'a Sight>,
}

impl Gate<'_> {
    fn passes(&self, event: &StoredEvent) -> bool {
        let pdu = &event.pdu;
        let own = pdu.event_type() == "m.room.member"
            && pdu.state_key() == Some(self.user.user_id().as_str());
        self.filter.timeline.event(pdu)
            && (pdu.is_state() || !self.user.ignores(pdu.sender()))
            // Everybody sees how they came and went.
            && (own || self.sight.is_none_or(|sight| sight.may_see(event)))
    }
}

impl Timeline {
    /// Takes what memory holds of `after < position <= until`.
    pub(crate) fn recent(
        room: &Room,
        gate: Gate<'_>,
        after: StreamPosition,
        until: StreamPosition,
    ) -> Self {
        let limit = if gate.filter.timeline.room_allowed(room.room_id()) {
            gate.filter.timeline_limit
        } else {
            0
        };
        let mut timeline = Self {
            moments: Vec::new(),
            limited: false,
            prev: until,
            after,
            until,
            limit,
        };
        let stretch = room.timeline().rev().filter(|moment| {
            let position = moment.event().position;
            after < position && position <= until
        });
        timeline.extend_back(stretch.cloned(), gate);
        timeline
    }

    /// What is to be read from the database so that the timeline is as long as it should be.
    pub(crate) fn missing(&self, room: &Room) -> Option<Span> {
        let wanted = !self.limited && self.moments.len() < self.limit && !room.reaches(self.after);
        wanted.then(|| Span {
            room_nid: room.room_nid(),
            after: self.after,
            until: room.complete_after().min(self.until),
        })
    }

    /// How many events to read for each timeline that is too short.
    pub(crate) fn read_limit(filter: &Filter) -> i64 {
        let limit = filter.timeline_limit as i64 + 1;
        if filter.timeline.allows_all_events() {
            limit
        } else {
            limit.max(SIEVED)
        }
    }

    /// Takes older events, oldest first, as read with a limit.
    pub(crate) fn extend(&mut self, older: Vec<StoredEvent>, gate: Gate<'_>, read_limit: i64) {
        let exhausted = (older.len() as i64) < read_limit;
        let oldest = older.first().map(|event| event.position);
        self.extend_back(
            older
                .into_iter()
                .rev()
                .map(|event| Arc::new(Moment::new(event))),
            gate,
        );
        if !exhausted && !self.limited {
            self.limited = true;
            self.prev = oldest.map_or(self.prev, before);
        }
    }

    /// Adds events going back, until the limit is reached and one more is found.
    fn extend_back(&mut self, newest_first: impl Iterator<Item = Arc<Moment>>, gate: Gate<'_>) {
        self.moments.reverse();
        for moment in newest_first {
            if !gate.passes(moment.event()) {
                continue;
            }
            if self.moments.len() >= self.limit {
                self.limited = true;
                break;
            }
            self.prev = before(moment.event().position);
            self.moments.push(moment);
        }
        self.moments.reverse();
    }

    /// Notes that there is more in the database than was read.
    pub(crate) fn note_gap(&mut self, room: &Room) {
        if !room.reaches(self.after) && self.moments.len() >= self.limit {
            self.limited = true;
        }
    }

    /// Whether an event is shown in the timeline.
    pub(crate) fn shows(&self, event: &StoredEvent) -> bool {
        self.moments
            .iter()
            .any(|moment| moment.event().nid == event.nid)
    }
}

/// The gap before an event.
fn before(position: StreamPosition) -> StreamPosition {
    StreamPosition(position.get() - 1)
}
