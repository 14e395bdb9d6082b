//! Push rules; stored as `m.push_rules` account data.

use ruma::{
    RoomId, UserId,
    events::push_rules::PushRulesEventContent,
    push::{
        Action, AnyPushRuleRef, ConditionalPushRule, NewConditionalPushRule, NewPushRule,
        NewSimplePushRule, PushCondition, RemovePushRuleError, RuleKind, Ruleset,
    },
};
use storage::Connection;

use crate::{Error, Identity, Result};

pub(crate) const EVENT_TYPE: &str = "m.push_rules";
/// The largest size of a user's push rules, in bytes of JSON.
const MAX_BYTES: usize = 256 * 1024;

/// Identifies a push rule.
#[derive(Clone, Debug)]
pub struct PushRuleId {
    /// Its kind.
    pub kind: RuleKind,
    /// Its id, unique within the kind.
    pub id: String,
}

impl Identity {
    /// The user's rules, the server's default rules among them.
    pub async fn push_rules(&self, user_id: &UserId) -> Result<Ruleset> {
        let mut db = self.0.database.acquire().await?;
        read(&mut db, user_id).await
    }

    /// Adds or replaces a user-defined rule.
    pub async fn set_push_rule(
        &self,
        user_id: &UserId,
        rule: NewPushRule,
        after: Option<&str>,
        before: Option<&str>,
    ) -> Result<()> {
        self.change_rules(user_id, |rules| insert(rules, rule.clone(), after, before))
            .await
    }

    /// Removes a user-defined rule.
    pub async fn delete_push_rule(&self, user_id: &UserId, rule: PushRuleId) -> Result<()> {
        self.change_rules(user_id, |rules| {
            rules
                .remove(rule.kind.clone(), rule.id.clone())
                .map_err(|error| match error {
                    RemovePushRuleError::NotFound => UNKNOWN,
                    error => Error::InvalidPushRule(error.to_string()),
                })
        })
        .await
    }

    /// Enables or disables a rule.
    pub async fn enable_push_rule(
        &self,
        user_id: &UserId,
        rule: PushRuleId,
        on: bool,
    ) -> Result<()> {
        self.change_rules(user_id, |rules| {
            rules
                .set_enabled(rule.kind.clone(), rule.id.clone(), on)
                .map_err(|_| UNKNOWN)
        })
        .await
    }

    /// Replaces the actions of a rule.
    pub async fn set_push_rule_actions(
        &self,
        user_id: &UserId,
        rule: PushRuleId,
        actions: Vec<Action>,
    ) -> Result<()> {
        self.change_rules(user_id, |rules| {
            rules
                .set_actions(rule.kind.clone(), rule.id.clone(), actions.clone())
                .map_err(|_| UNKNOWN)
        })
        .await
    }

    /// Gives a room the rules that the user has for the room that it replaces; rules that the user
    /// has for it stay.
    ///
    /// Spec: client-server, "Room upgrades".
    pub async fn copy_room_push_rules(
        &self,
        user_id: &UserId,
        from: &RoomId,
        to: &RoomId,
    ) -> Result<()> {
        if copies(&self.push_rules(user_id).await?, from, to).is_empty() {
            return Ok(());
        }
        self.change_rules(user_id, |rules| {
            for (rule, enabled) in copies(rules, from, to) {
                let (kind, id) = (rule.kind(), rule.rule_id().to_owned());
                insert(rules, rule, None, None)?;
                rules.set_enabled(kind, &id, enabled).map_err(|_| UNKNOWN)?;
            }
            Ok(())
        })
        .await
    }

    async fn change_rules(
        &self,
        user_id: &UserId,
        change: impl Fn(&mut Ruleset) -> Result<()>,
    ) -> Result<()> {
        let changed = |before: Option<&str>| {
            let mut rules = event::push::rules(before, user_id)?;
            change(&mut rules)?;
            let content = content(&rules)?;
            if content.len() > MAX_BYTES {
                return Err(Error::TooLarge("There are too many push rules"));
            }
            Ok(content)
        };
        self.update_account_data(user_id, None, EVENT_TYPE, changed)
            .await
    }
}

const UNKNOWN: Error = Error::NotFound("There is no such push rule");

/// The rules as account data.
pub(crate) fn content(rules: &Ruleset) -> Result<String> {
    Ok(serde_json::to_string(&PushRulesEventContent::new(
        rules.clone(),
    ))?)
}

async fn read(db: &mut Connection, user_id: &UserId) -> Result<Ruleset> {
    let content = storage::account_data::find(db, user_id, None, EVENT_TYPE).await?;
    Ok(event::push::rules(content.as_deref(), user_id)?)
}

/// The rules for one room made into rules for another, as far as that has none: those of the room
/// itself, and those with a condition on its id, each with whether it is enabled.
fn copies(rules: &Ruleset, from: &RoomId, to: &RoomId) -> Vec<(NewPushRule, bool)> {
    let mut copies = Vec::new();
    for rule in rules.room.iter().filter(|rule| rule.rule_id == from) {
        let copy = NewSimplePushRule::new(to.to_owned(), rule.actions.clone());
        copies.push((NewPushRule::Room(copy), rule.enabled));
    }
    let is_of_room = |condition: &PushCondition| {
        matches!(condition, PushCondition::EventMatch(matched)
            if matched.key == "room_id" && matched.pattern == from.as_str())
    };
    let copy = |rule: &ConditionalPushRule| {
        let is_copied = !rule.default && rule.conditions.iter().any(is_of_room);
        is_copied.then(|| {
            let id = if rule.rule_id == from.as_str() {
                to.to_string()
            } else {
                format!("{} {to}", rule.rule_id)
            };
            let mut conditions = rule.conditions.clone();
            for condition in &mut conditions {
                let is_of_room = is_of_room(condition);
                if let PushCondition::EventMatch(matched) = condition
                    && is_of_room
                {
                    to.as_str().clone_into(&mut matched.pattern);
                }
            }
            NewConditionalPushRule::new(id, conditions, rule.actions.clone())
        })
    };
    for rule in &rules.override_ {
        copies.extend(copy(rule).map(|copy| (NewPushRule::Override(copy), rule.enabled)));
    }
    for rule in &rules.underride {
        copies.extend(copy(rule).map(|copy| (NewPushRule::Underride(copy), rule.enabled)));
    }
    copies.retain(|(copy, _)| rules.get(copy.kind(), copy.rule_id()).is_none());
    copies
}

/// Inserts a rule; [`Ruleset::insert`] alone panics for some positions of an existing rule.
fn insert(
    rules: &mut Ruleset,
    rule: NewPushRule,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<()> {
    let invalid = |error: &dyn std::error::Error| Error::InvalidPushRule(error.to_string());
    let (kind, id) = (rule.kind(), rule.rule_id().to_owned());
    if id.is_empty() {
        return Err(Error::InvalidPushRule("The rule has no id".to_owned()));
    }
    if after == Some(&id) || before == Some(&id) {
        return Err(Error::InvalidPushRule(
            "A rule cannot be positioned relative to itself".to_owned(),
        ));
    }
    let existing = rules.get(kind.clone(), &id).map(AnyPushRuleRef::enabled);
    let moves = after.is_some() || before.is_some();
    if existing.is_some() && moves && !id.starts_with('.') {
        rules
            .remove(kind.clone(), &id)
            .map_err(|error| invalid(&error))?;
    }
    let named =
        |name: Option<&str>| name.is_none_or(|name| rules.get(kind.clone(), name).is_some());
    if !named(after) || !named(before) {
        return Err(UNKNOWN);
    }
    rules
        .insert(rule, after, before)
        .map_err(|error| invalid(&error))?;
    match existing {
        Some(enabled) => rules.set_enabled(kind, &id, enabled).map_err(|_| UNKNOWN),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ruma::{push::NewPatternedPushRule, user_id};

    use super::*;

    fn word(id: &str) -> NewPushRule {
        NewPushRule::Content(NewPatternedPushRule::new(
            id.to_owned(),
            id.to_owned(),
            vec![],
        ))
    }

    fn order(rules: &Ruleset) -> Vec<&str> {
        let own = rules.content.iter().filter(|rule| !rule.default);
        own.map(|rule| &*rule.rule_id).collect()
    }

    fn rules() -> Ruleset {
        let mut rules = Ruleset::server_default(user_id!("@alice:a.org"));
        for id in ["c", "b", "a"] {
            insert(&mut rules, word(id), None, None).unwrap();
        }
        rules
    }

    #[test]
    fn new_rule_comes_first_unless_it_is_positioned() {
        let mut rules = rules();
        assert_eq!(order(&rules), ["a", "b", "c"]);
        insert(&mut rules, word("d"), Some("c"), None).unwrap();
        insert(&mut rules, word("e"), None, Some("b")).unwrap();
        assert_eq!(order(&rules), ["a", "e", "b", "c", "d"]);
    }

    #[test]
    fn existing_rule_can_be_moved_to_either_end() {
        let mut rules = rules();
        insert(&mut rules, word("a"), Some("c"), None).unwrap();
        assert_eq!(order(&rules), ["b", "c", "a"]);
        insert(&mut rules, word("a"), None, Some("b")).unwrap();
        assert_eq!(order(&rules), ["a", "b", "c"]);
    }

    #[test]
    fn replaced_rule_stays_disabled() {
        let mut rules = rules();
        rules.set_enabled(RuleKind::Content, "a", false).unwrap();
        insert(&mut rules, word("a"), Some("c"), None).unwrap();
        assert!(!rules.get(RuleKind::Content, "a").unwrap().enabled());
    }

    #[test]
    fn impossible_positions_are_refused() {
        for (after, before) in [
            (Some("a"), None),
            (None, Some("a")),
            (Some("x"), None),
            (None, Some("x")),
            (Some("c"), Some("b")),
            (Some(".m.rule.master"), None),
        ] {
            assert!(
                insert(&mut rules(), word("a"), after, before).is_err(),
                "{after:?} {before:?}"
            );
        }
        assert!(insert(&mut rules(), word(".a"), None, None).is_err());
        assert!(insert(&mut rules(), word("a/b"), None, None).is_err());
    }
}
