//! Push rules.

use identity::{Caller, Error::NotFound, PushRuleId};
use ruma::{
    api::client::push::{
        PushRule, delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled,
        get_pushrules_all, get_pushrules_global_scope, set_pushrule, set_pushrule_actions,
        set_pushrule_enabled,
    },
    push::RuleKind,
};

use crate::{App, Matrix, Result};

/// Lists the caller's rules of all scopes.
pub(crate) async fn all(
    app: App,
    call: Matrix<get_pushrules_all::v3::Request>,
) -> Result<get_pushrules_all::v3::Response> {
    let rules = app.identity.push_rules(call.caller.user_id()).await?;
    Ok(get_pushrules_all::v3::Response::new(rules))
}

/// Lists the caller's rules of the `global` scope, which is the only one.
pub(crate) async fn global(
    app: App,
    call: Matrix<get_pushrules_global_scope::v3::Request>,
) -> Result<get_pushrules_global_scope::v3::Response> {
    let rules = app.identity.push_rules(call.caller.user_id()).await?;
    Ok(get_pushrules_global_scope::v3::Response::new(rules))
}

/// Returns one rule.
pub(crate) async fn one(
    app: App,
    call: Matrix<get_pushrule::v3::Request>,
) -> Result<get_pushrule::v3::Response> {
    let rule = find(&app, &call.caller, call.request.kind, &call.request.rule_id).await?;
    Ok(get_pushrule::v3::Response::new(rule))
}

/// Returns whether a rule is enabled.
pub(crate) async fn enabled(
    app: App,
    call: Matrix<get_pushrule_enabled::v3::Request>,
) -> Result<get_pushrule_enabled::v3::Response> {
    let rule = find(&app, &call.caller, call.request.kind, &call.request.rule_id).await?;
    Ok(get_pushrule_enabled::v3::Response::new(rule.enabled))
}

/// Returns the actions of a rule.
pub(crate) async fn actions(
    app: App,
    call: Matrix<get_pushrule_actions::v3::Request>,
) -> Result<get_pushrule_actions::v3::Response> {
    let rule = find(&app, &call.caller, call.request.kind, &call.request.rule_id).await?;
    Ok(get_pushrule_actions::v3::Response::new(rule.actions))
}

/// Adds or replaces a rule.
pub(crate) async fn set(
    app: App,
    call: Matrix<set_pushrule::v3::Request>,
) -> Result<set_pushrule::v3::Response> {
    let (after, before) = (
        call.request.after.as_deref(),
        call.request.before.as_deref(),
    );
    let user_id = call.caller.user_id();
    app.identity
        .set_push_rule(user_id, call.request.rule, after, before)
        .await?;
    Ok(set_pushrule::v3::Response::new())
}

/// Removes a rule.
pub(crate) async fn delete(
    app: App,
    call: Matrix<delete_pushrule::v3::Request>,
) -> Result<delete_pushrule::v3::Response> {
    let rule = PushRuleId {
        kind: call.request.kind,
        id: call.request.rule_id,
    };
    app.identity
        .delete_push_rule(call.caller.user_id(), rule)
        .await?;
    Ok(delete_pushrule::v3::Response::new())
}

/// Enables or disables a rule.
pub(crate) async fn set_enabled(
    app: App,
    call: Matrix<set_pushrule_enabled::v3::Request>,
) -> Result<set_pushrule_enabled::v3::Response> {
    let rule = PushRuleId {
        kind: call.request.kind,
        id: call.request.rule_id,
    };
    let on = call.request.enabled;
    app.identity
        .enable_push_rule(call.caller.user_id(), rule, on)
        .await?;
    Ok(set_pushrule_enabled::v3::Response::new())
}

/// Sets the actions of a rule.
pub(crate) async fn set_actions(
    app: App,
    call: Matrix<set_pushrule_actions::v3::Request>,
) -> Result<set_pushrule_actions::v3::Response> {
    let rule = PushRuleId {
        kind: call.request.kind,
        id: call.request.rule_id,
    };
    let actions = call.request.actions;
    app.identity
        .set_push_rule_actions(call.caller.user_id(), rule, actions)
        .await?;
    Ok(set_pushrule_actions::v3::Response::new())
}

async fn find(app: &App, caller: &Caller, kind: RuleKind, rule_id: &str) -> Result<PushRule> {
    let rules = app.identity.push_rules(caller.user_id()).await?;
    let rule = rules
        .get(kind, rule_id)
        .ok_or(NotFound("There is no such push rule"))?;
    Ok(rule.into())
}
