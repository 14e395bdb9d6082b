//! Evaluation of a user's push rules for the events of a room.

use event::{
    Pdu,
    push::{self, PushDecision},
};
use ruma::push::{FlattenedJson, PushConditionRoomCtx};

use crate::{Room, TimelineEvent, User};

/// Evaluates the push rules of a user for events of a room, with the room's current state.
#[derive(Debug)]
pub struct PushEvaluator<'a> {
    user: &'a User,
    room: &'a Room,
    /// The user's member event.
    member: Option<&'a Pdu>,
    /// Made for the first event.
    context: Option<PushConditionRoomCtx>,
}

impl<'a> PushEvaluator<'a> {
    /// For the user as a member of the room, with the user's member event.
    pub fn new(user: &'a User, room: &'a Room, member: Option<&'a Pdu>) -> Self {
        Self {
            user,
            room,
            member,
            context: None,
        }
    }

    /// Whether an event notifies the user, and with a highlight or not.
    pub fn evaluate(&mut self, timeline_event: &TimelineEvent) -> PushDecision {
        self.evaluate_flattened(timeline_event.pdu(), || timeline_event.flattened())
    }

    /// The same of an event that is flattened only if need be.
    pub(crate) fn evaluate_flattened<'e>(
        &mut self,
        pdu: &Pdu,
        flattened: impl FnOnce() -> &'e FlattenedJson,
    ) -> PushDecision {
        let (user, room, member) = (self.user, self.room, self.member);
        if pdu.sender() == user.user_id() || user.ignores(pdu.sender()) {
            return PushDecision::Silent;
        }
        let context = self.context.get_or_insert_with(|| {
            push::context(
                room.room_id(),
                user.user_id(),
                member,
                room.member_counts().joined,
            )
        });
        // Only what notifies everybody needs them, and copying them costs.
        if context.power_levels.is_none() && pdu.content_text().contains("room") {
            context.power_levels = room.push_levels().cloned();
        }
        push::evaluate(user.push_rules(), flattened(), context)
    }
}
