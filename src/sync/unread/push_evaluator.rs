//! Push rule evaluation.

use event::{
    Pdu,
    push::{self, PushDecision},
};
use live::{Room, User};
use ruma::push::{FlattenedJson, PushConditionRoomCtx};

/// Evaluates the push rules of a user for events of a room, with the room's current state.
pub(super) struct PushEvaluator<'a> {
    user: &'a User,
    room: &'a Room,
    /// Made for the first event.
    context: Option<PushConditionRoomCtx>,
}

impl<'a> PushEvaluator<'a> {
    pub(super) fn new(user: &'a User, room: &'a Room) -> Self {
        Self {
            user,
            room,
            context: None,
        }
    }

    /// Whether an event notifies the user, and with a highlight or not.
    pub(super) fn evaluate(&mut self, pdu: &Pdu, flattened: &FlattenedJson) -> PushDecision {
        if self.user.ignores(pdu.sender()) {
            return PushDecision::Silent;
        }
        let (user, room) = (self.user, self.room);
        let context = self.context.get_or_insert_with(|| {
            push::context(
                room.room_id(),
                user.user_id(),
                room.state(),
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
