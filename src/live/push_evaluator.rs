//! Evaluation of a user's push rules for the events of a room.

use event::{
    Pdu,
    push::{self, PushDecision},
};
use ruma::push::{Action, FlattenedJson, PushConditionRoomCtx};

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
    /// Looked up for the first event.
    has_permission_rules: Option<bool>,
}

impl<'a> PushEvaluator<'a> {
    /// For the user as a member of the room, with the user's member event.
    pub fn new(user: &'a User, room: &'a Room, member: Option<&'a Pdu>) -> Self {
        Self {
            user,
            room,
            member,
            context: None,
            has_permission_rules: None,
        }
    }

    /// Whether an event notifies the user, and with a highlight or not.
    pub fn evaluate(&mut self, timeline_event: &TimelineEvent) -> PushDecision {
        self.evaluate_flattened(timeline_event.pdu(), || timeline_event.flattened())
    }

    /// The actions of the rule that applies to an event; none for the user's own events.
    pub fn actions(&mut self, timeline_event: &TimelineEvent) -> &'a [Action] {
        self.actions_flattened(timeline_event.pdu(), || timeline_event.flattened())
    }

    /// The decision on an event that is flattened only if need be.
    pub(crate) fn evaluate_flattened<'e>(
        &mut self,
        pdu: &Pdu,
        flattened: impl FnOnce() -> &'e FlattenedJson,
    ) -> PushDecision {
        PushDecision::of(self.actions_flattened(pdu, flattened))
    }

    fn actions_flattened<'e>(
        &mut self,
        pdu: &Pdu,
        flattened: impl FnOnce() -> &'e FlattenedJson,
    ) -> &'a [Action] {
        let (user, room, member) = (self.user, self.room, self.member);
        if pdu.sender() == user.user_id() || user.ignores(pdu.sender()) {
            return &[];
        }
        let context = self.context.get_or_insert_with(|| {
            push::context(
                room.room_id(),
                user.user_id(),
                member,
                room.member_counts().joined,
            )
        });
        let rules = user.push_rules();
        // Only what notifies everybody needs them, and copying them costs.
        let has_permission_rules = &mut self.has_permission_rules;
        let mut needs_levels = || {
            pdu.content_text().contains("room")
                || *has_permission_rules.get_or_insert_with(|| push::has_permission_rules(rules))
        };
        if context.power_levels.is_none() && needs_levels() {
            context.power_levels = room.push_levels().cloned();
        }
        push::actions(rules, flattened(), context)
    }
}
