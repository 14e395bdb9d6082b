use ruma::{
    push::{NewPatternedPushRule, NewPushRule, RuleKind},
    room_id,
};
use serde_json::json;

use super::*;
use crate::{Error, PushRuleId};

async fn alice() -> (World, ActiveUser) {
    let world = world(RegistrationMode::Closed).await;
    let user = world.active(&world.user("alice", "secret").await).await;
    (world, user)
}

#[tokio::test]
async fn account_data_is_read_as_it_was_written() {
    let (world, user) = alice().await;
    let (identity, me) = (&world.identity, &user.user_id);
    let missing = identity.account_data(me, None, "m.direct").await;
    assert!(matches!(missing, Err(Error::NotFound(_))));
    for content in [r#"{ "a": 1.50 }"#, r#"{"a":{}}"#] {
        identity
            .set_account_data(me, None, "m.direct", content)
            .await
            .unwrap();
        assert_eq!(
            identity.account_data(me, None, "m.direct").await.unwrap(),
            content
        );
    }
}

#[tokio::test]
async fn account_data_that_cannot_be_kept_is_refused() {
    let (world, user) = alice().await;
    let (identity, me) = (&world.identity, &user.user_id);
    for event_type in ["m.push_rules", "m.fully_read"] {
        let managed = identity.set_account_data(me, None, event_type, "{}").await;
        assert!(matches!(managed, Err(Error::ManagedAccountData)));
    }
    for content in ["[]", "1", "", "{"] {
        let error = identity
            .set_account_data(me, None, "m.direct", content)
            .await;
        assert!(matches!(error, Err(Error::BadJson(_))));
    }
    for event_type in ["", "a\0", &"x".repeat(256)] {
        let error = identity.set_account_data(me, None, event_type, "{}").await;
        assert!(matches!(error, Err(Error::InvalidParam(_))));
    }
    let room = Some(room_id!("!nowhere:test.localhost"));
    let unknown = identity.set_account_data(me, room, "m.x", "{}").await;
    assert!(matches!(unknown, Err(Error::UnknownRoom)));
}

#[tokio::test]
async fn turn_credentials_are_the_signed_end_of_their_validity() {
    let (world, user) = alice().await;
    let credentials = world.identity.turn_credentials(&user.user_id).unwrap();
    assert_eq!(credentials.username, "1700086400:@alice:test.localhost");
    // As computed by another implementation of HMAC.
    assert_eq!(credentials.password, "+cUZM7lYv+HDqeTAMnvkgkgoDi8=");
    assert_eq!(credentials.uris, ["turn:turn.test.localhost"]);
    assert_eq!(credentials.lifetime, Duration::from_hours(24));
}

#[tokio::test]
async fn ignored_users_are_read_leniently() {
    let (world, user) = alice().await;
    let (identity, me) = (&world.identity, &user.user_id);
    assert!(identity.ignored_users(me).await.unwrap().is_empty());
    let list = r#"{"ignored_users":{"@bob:a.org":{}}}"#;
    identity
        .set_account_data(me, None, "m.ignored_user_list", list)
        .await
        .unwrap();
    assert_eq!(identity.ignored_users(me).await.unwrap(), ["@bob:a.org"]);
    identity
        .set_account_data(me, None, "m.ignored_user_list", r#"{"ignored_users":7}"#)
        .await
        .unwrap();
    assert!(identity.ignored_users(me).await.unwrap().is_empty());
}

#[tokio::test]
async fn same_filter_keeps_its_id() {
    let (world, user) = alice().await;
    let (identity, me) = (&world.identity, &user.user_id);
    let first = identity.store_filter(me, r#"{"room":{}}"#).await.unwrap();
    assert_eq!(
        identity.store_filter(me, r#"{"room":{}}"#).await.unwrap(),
        first
    );
    assert_ne!(identity.store_filter(me, "{}").await.unwrap(), first);
    assert_eq!(identity.filter(me, &first).await.unwrap(), r#"{"room":{}}"#);
    let bob = world.user("bob", "secret").await;
    for (user_id, filter_id) in [(&bob.user_id, &*first), (me, "999999"), (me, "x"), (me, "")] {
        let unknown = identity.filter(user_id, filter_id).await;
        assert!(matches!(unknown, Err(Error::NotFound(_))));
    }
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(70_000));
    assert!(matches!(
        identity.store_filter(me, &large).await,
        Err(Error::TooLarge(_))
    ));
}

#[tokio::test]
async fn profile_fields_are_set_and_removed() {
    let (world, user) = alice().await;
    let identity = &world.identity;
    identity
        .set_profile_field(&user.user_id, "displayname", &json!("Alice"))
        .await
        .unwrap();
    identity
        .set_profile_field(&user.user_id, "org.example.post", &json!({ "room": 7 }))
        .await
        .unwrap();
    let profile = identity
        .set_profile_field(&user.user_id, "m.tz", &json!("Europe/Berlin"))
        .await
        .unwrap();
    assert_eq!(profile, identity.profile(&user.user_id).await.unwrap());
    assert_eq!(profile.display_name(), Some("Alice"));
    assert_eq!(profile.0["org.example.post"]["room"], 7);
    identity
        .delete_profile_field(&user.user_id, "m.tz")
        .await
        .unwrap();
    let profile = identity
        .set_profile_field(&user.user_id, "displayname", &json!(""))
        .await
        .unwrap();
    assert_eq!(profile.0.keys().collect::<Vec<_>>(), ["org.example.post"]);
}

#[tokio::test]
async fn profile_values_of_the_wrong_kind_are_refused() {
    let (world, user) = alice().await;
    for (field, value) in [
        ("displayname", json!(7)),
        ("avatar_url", json!(null)),
        ("m.tz", json!({})),
    ] {
        let error = world
            .identity
            .set_profile_field(&user.user_id, field, &value)
            .await;
        assert!(matches!(error, Err(Error::BadJson(_))), "{field}");
    }
    for url in [
        "https://a.org/x",
        "mxc://",
        "mxc://a.org",
        "mxc://a.org/x/y",
        "x",
    ] {
        let error = world
            .identity
            .set_profile_field(&user.user_id, "avatar_url", &json!(url))
            .await;
        assert!(matches!(error, Err(Error::InvalidParam(_))), "{url}");
    }
    let long = json!("x".repeat(257));
    let error = world
        .identity
        .set_profile_field(&user.user_id, "displayname", &long)
        .await;
    assert!(matches!(error, Err(Error::InvalidParam(_))));
    let large = json!("x".repeat(64 * 1024));
    let error = world
        .identity
        .set_profile_field(&user.user_id, "org.example.x", &large)
        .await;
    assert!(matches!(error, Err(Error::ProfileTooLarge)));
}

#[tokio::test]
async fn profile_of_unknown_user_is_not_found() {
    let (world, _) = alice().await;
    for nobody in ["@nobody:test.localhost", "@alice:elsewhere.org"] {
        let nobody = ruma::UserId::parse(nobody).unwrap();
        assert!(matches!(
            world.identity.profile(&nobody).await,
            Err(Error::UnknownUser)
        ));
    }
}

#[tokio::test]
async fn push_rules_begin_with_the_defaults_and_can_be_changed() {
    let (world, user) = alice().await;
    let (identity, me) = (&world.identity, &user.user_id);
    let stored = identity
        .account_data(me, None, "m.push_rules")
        .await
        .unwrap();
    let defaults = json!({ "global": event::push::defaults(me) });
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&stored).unwrap(),
        defaults
    );

    let word = |id: &str| NewPatternedPushRule::new(id.to_owned(), id.to_owned(), vec![]);
    identity
        .set_push_rule(me, NewPushRule::Content(word("cake")), None, None)
        .await
        .unwrap();
    let rule = |kind, id: &str| PushRuleId {
        kind,
        id: id.to_owned(),
    };
    identity
        .enable_push_rule(me, rule(RuleKind::Content, "cake"), false)
        .await
        .unwrap();
    identity
        .enable_push_rule(me, rule(RuleKind::Override, ".m.rule.master"), true)
        .await
        .unwrap();
    let rules = identity.push_rules(me).await.unwrap();
    assert!(!rules.get(RuleKind::Content, "cake").unwrap().enabled());
    assert!(
        rules
            .get(RuleKind::Override, ".m.rule.master")
            .unwrap()
            .enabled()
    );

    identity
        .delete_push_rule(me, rule(RuleKind::Content, "cake"))
        .await
        .unwrap();
    let gone = identity
        .delete_push_rule(me, rule(RuleKind::Content, "cake"))
        .await;
    assert!(matches!(gone, Err(Error::NotFound(_))));
    let default = identity
        .delete_push_rule(me, rule(RuleKind::Override, ".m.rule.master"))
        .await;
    assert!(matches!(default, Err(Error::InvalidPushRule(_))));
}
