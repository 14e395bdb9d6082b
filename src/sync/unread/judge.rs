//! What events of one room mean to one user.

use event::{
    Pdu,
    push::{self, PushDecision},
};
use live::{Room, User};
use ruma::push::{FlattenedJson, PushConditionRoomCtx};

/// Judges events of a room for a user, by the user's rules and the room's present state.
pub(super) struct Judge<'a> {
    user: &'a User,
    room: &'a Room,
    /// Made for the first event.
    context: Option<PushConditionRoomCtx>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(user: &'a User, room: &'a Room) -> Self {
        Self {
            user,
            room,
            context: None,
        }
    }

    /// Whether the user is to be notified of an event, and whether it stands out.
    pub(super) fn judge(&mut self, pdu: &Pdu, flattened: &FlattenedJson) -> PushDecision {
        if self.user.ignores(pdu.sender()) {
            return PushDecision::Silent;
        }
        let (user, room) = (self.user, self.room);
        let context = self.context.get_or_insert_with(|| {
            push::context(
                room.room_id(),
                user.user_id(),
                room.state(),
                room.members().joined,
            )
        });
        // Only what notifies everybody needs them, and copying them costs.
        if context.power_levels.is_none() && pdu.content_text().contains("room") {
            context.power_levels = room.push_levels().cloned();
        }
        push::evaluate(user.push_rules(), flattened, context)
    }
}
