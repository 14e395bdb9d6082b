//! The threads that events belong to.

use event::{Pdu, Relation};
use ruma::OwnedEventId;

use super::Thread;
use crate::Room;

/// How many relations are followed to find the thread of an event.
pub(crate) const MAX_RELATION_DEPTH: usize = 3;

/// The thread of an event.
#[derive(Clone, Debug)]
pub(crate) enum EventThread {
    Known(Thread),
    /// The same thread as this event, which is not known yet.
    SameAs(OwnedEventId),
}

impl EventThread {
    /// The thread of an event with this relation.
    pub(crate) fn from_relation(relation: Option<Relation>) -> Self {
        match relation {
            Some(relation) if relation.is_thread() => Self::Known(Thread::Of(relation.event_id)),
            Some(relation) => Self::SameAs(relation.event_id),
            None => Self::Known(Thread::Main),
        }
    }

    /// The thread of an event, as far as the cached timeline of its room has it.
    pub(crate) fn in_room(room: &Room, pdu: &Pdu) -> Self {
        let mut event_thread = Self::from_relation(pdu.relation());
        for _ in 0..MAX_RELATION_DEPTH {
            let Self::SameAs(parent) = &event_thread else {
                break;
            };
            let parent = room
                .timeline()
                .find(|timeline_event| timeline_event.pdu().event_id() == parent);
            match parent {
                Some(timeline_event) => {
                    event_thread = Self::from_relation(timeline_event.pdu().relation());
                }
                None => break,
            }
        }
        event_thread
    }
}
