//! Evaluation of push rules: whether an event notifies a user.
//!
//! Spec: client-server, "Push Rules".

use std::collections::BTreeMap;

use futures::FutureExt;
use ruma::{
    Int, OwnedUserId, RoomId, RoomVersionId, UInt, UserId,
    events::push_rules::PushRulesEventContent,
    power_levels::NotificationPowerLevels,
    push::{
        Action, FlattenedJson, HighlightTweakValue, PatternedPushRuleInit, PushCondition,
        PushConditionPowerLevelsCtx, PushConditionRoomCtx, Ruleset, SoundTweakValue, Tweak,
    },
    room_version_rules::RoomPowerLevelsRules,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Pdu, PowerLevel, PowerLevels, RoomVersion, State};

mod polls;

/// The result of the push rules for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushDecision {
    /// No notification.
    Silent,
    /// A notification.
    Notify,
    /// A notification with a highlight.
    Highlight,
}

/// The rules that every user begins with.
///
/// That of being called by name is no longer in the specification, but there are clients that do
/// not tell whom they mention; it is of no account where `m.mentions` does.
pub fn defaults(user_id: &UserId) -> Ruleset {
    let mut rules = Ruleset::server_default(user_id);
    let named = PatternedPushRuleInit {
        actions: vec![
            Action::Notify,
            Action::SetTweak(Tweak::Sound(SoundTweakValue::Default)),
            Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes)),
        ],
        default: true,
        enabled: true,
        rule_id: ".m.rule.contains_user_name".to_owned(),
        pattern: user_id.localpart().to_owned(),
    };
    rules.content.insert(named.into());
    let (overriding, underlying) = polls::rules();
    rules.override_.insert(overriding);
    rules.underride.extend(underlying);
    rules
}

/// A user's rules from the content of `m.push_rules`, brought up to the server's default rules;
/// these alone where there is no content.
pub fn rules(content: Option<&str>, user_id: &UserId) -> Result<Ruleset, serde_json::Error> {
    let defaults = defaults(user_id);
    let Some(content) = content else {
        return Ok(defaults);
    };
    let mut rules = serde_json::from_str::<PushRulesEventContent>(content)?.global;
    rules.update_with_server_default(defaults);
    Ok(rules)
}

/// An event as push conditions read it.
pub fn flatten(pdu: &Pdu) -> FlattenedJson {
    let json = RawValue::from_string(pdu.json().to_owned()).unwrap_or_default();
    FlattenedJson::from_raw(&Raw::<()>::from_json(json))
}

/// What conditions look at beside the event, for a member of a room with its member event; without
/// [`power_levels`], which only those of notifying everybody need.
pub fn context(
    room_id: &RoomId,
    user_id: &UserId,
    member: Option<&Pdu>,
    joined_members: u64,
) -> PushConditionRoomCtx {
    let display_name = member.and_then(|member| member.content_as::<Member>().ok()?.displayname);
    PushConditionRoomCtx::new(
        room_id.to_owned(),
        UInt::new_saturating(joined_members),
        user_id.to_owned(),
        display_name.unwrap_or_default(),
    )
}

/// Who may notify everybody in a room; none where its version is not known.
pub fn power_levels(state: &State) -> Option<PushConditionPowerLevelsCtx> {
    let create = state.get("m.room.create", "")?;
    let version = create.content_as::<Create>().ok()?.room_version;
    let version = RoomVersion::of(&version)?;
    let levels = PowerLevels::of(state, &version);
    let mut creators: Vec<OwnedUserId> = Vec::new();
    let mut users: BTreeMap<OwnedUserId, Int> = BTreeMap::new();
    for (user_id, level) in levels.users() {
        match level {
            PowerLevel::Infinite => creators.push(user_id.to_owned()),
            PowerLevel::Value(level) => {
                users.insert(user_id.to_owned(), Int::new_saturating(level));
            }
        }
    }
    let mut notifications = NotificationPowerLevels::new();
    notifications.room = Int::new_saturating(levels.notifications_room());
    Some(PushConditionPowerLevelsCtx::new(
        users,
        Int::new_saturating(levels.users_default()),
        notifications,
        RoomPowerLevelsRules::new(version.authorization(), creators),
    ))
}

/// The actions of a user's first push rule that applies to an event; none if no rule does.
pub fn actions<'r>(
    rules: &'r Ruleset,
    event: &FlattenedJson,
    context: &PushConditionRoomCtx,
) -> &'r [Action] {
    // No condition waits for anything: those that would are of an unstable feature.
    let applying = rules.iter().find(|rule| {
        let applies = rule.applies(event, context).now_or_never();
        applies.unwrap_or(false)
    });
    match applying {
        Some(rule) => rule.actions(),
        None => &[],
    }
}

impl PushDecision {
    /// What actions come to.
    pub fn of(actions: &[Action]) -> Self {
        if !actions.iter().any(Action::should_notify) {
            Self::Silent
        } else if actions.iter().any(Action::is_highlight) {
            Self::Highlight
        } else {
            Self::Notify
        }
    }
}

/// Evaluates a user's push rules for an event.
pub fn evaluate(
    rules: &Ruleset,
    event: &FlattenedJson,
    context: &PushConditionRoomCtx,
) -> PushDecision {
    PushDecision::of(actions(rules, event, context))
}

/// Whether a user has rules that depend on who may notify everybody, beside the default ones.
pub fn has_permission_rules(rules: &Ruleset) -> bool {
    let conditional = rules.override_.iter().chain(&rules.underride);
    let mut own = conditional.filter(|rule| !rule.default && rule.enabled);
    own.any(|rule| {
        let mut conditions = rule.conditions.iter();
        conditions
            .any(|condition| matches!(condition, PushCondition::SenderNotificationPermission(_)))
    })
}

#[derive(Deserialize)]
struct Member {
    displayname: Option<String>,
}

#[derive(Deserialize)]
struct Create {
    #[serde(default = "first_version")]
    room_version: RoomVersionId,
}

fn first_version() -> RoomVersionId {
    RoomVersionId::V1
}

#[cfg(test)]
mod tests;
