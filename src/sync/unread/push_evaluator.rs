//! Push rule evaluation.

use std::sync::Arc;

use event::{
    Pdu, State,
    push::{self, PushDecision},
};
use live::{Room, User};
use ruma::push::{FlattenedJson, PushConditionRoomCtx};

/// Evaluates the push rules of a user for events of a room, with the room's current state.
pub(super) struct PushEvaluator<'a> {
    user: &'a User,
    room: &'a Room,
    /// The user's member event.
    member: Option<&'a Arc<Pdu>>,
    /// Made for the first event.
    context: Option<PushConditionRoomCtx>,
}

impl<'a> PushEvaluator<'a> {
    pub(super) fn new(user: &'a User, room: &'a Room, member: Option<&'a Arc<Pdu>>) -> Self {
        Self {
            user,
            room,
            member,
            context: None,
        }
    }

    /// Whether an event notifies the user, and with a highlight or not.
    pub(super) fn evaluate(&mut self, pdu: &Pdu, flattened: &FlattenedJson) -> PushDecision {
        if self.user.ignores(pdu.sender()) {
            return PushDecision::Silent;
        }
        let (user, room, member) = (self.user, self.room, self.member);
        let context = self.context.get_or_insert_with(|| {
            let member = State::from_iter(member.cloned());
            push::context(
                room.room_id(),
                user.user_id(),
                &member,
                room.member_counts().joined,
            )
        });
        // Only what notifies everybody needs them, and copying them costs.
        if context.power_levels.is_none() && pdu.content_text().contains("room") {
            context.power_levels = room.push_levels().cloned();
        }
        push::evaluate(user.push_rules(), flattened, context)
    }
}
