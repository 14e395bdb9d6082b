//! The default rules for polls, by their unstable names.
//!
//! Spec: MSC3930, "Polls push rules/notifications"; MSC3381 defines the events.

use ruma::push::{
    Action, ConditionalPushRule, ConditionalPushRuleInit, EventMatchConditionData, PushCondition,
    RoomMemberCountConditionData, RoomMemberCountIs, SoundTweakValue, Tweak,
};
use ruma::uint;

/// The override rule that silences responses, and the underride rules for the start and end of a poll.
pub(super) fn rules() -> (ConditionalPushRule, [ConditionalPushRule; 4]) {
    let response = rule("poll_response", vec![is_event("response")], vec![]);
    let with_sound = || {
        let sound = Action::SetTweak(Tweak::Sound(SoundTweakValue::Default));
        vec![Action::Notify, sound]
    };
    let of_two = |event_type| vec![is_room_of_two(), is_event(event_type)];
    let others = [
        rule("poll_start_one_to_one", of_two("start"), with_sound()),
        rule("poll_start", vec![is_event("start")], vec![Action::Notify]),
        rule("poll_end_one_to_one", of_two("end"), with_sound()),
        rule("poll_end", vec![is_event("end")], vec![Action::Notify]),
    ];
    (response, others)
}

fn rule(name: &str, conditions: Vec<PushCondition>, actions: Vec<Action>) -> ConditionalPushRule {
    let rule = ConditionalPushRuleInit {
        actions,
        default: true,
        enabled: true,
        rule_id: format!(".org.matrix.msc3930.rule.{name}"),
        conditions,
    };
    rule.into()
}

fn is_event(name: &str) -> PushCondition {
    let event_type = format!("org.matrix.msc3381.poll.{name}");
    PushCondition::EventMatch(EventMatchConditionData::new("type".to_owned(), event_type))
}

fn is_room_of_two() -> PushCondition {
    let two = RoomMemberCountIs::from(uint!(2));
    PushCondition::RoomMemberCount(RoomMemberCountConditionData::new(two))
}
