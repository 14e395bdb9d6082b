use serde_json::{Value, json};

use super::*;
use crate::fixture::{ALICE, BOB, Room, user};

/// A room of Alice's with Bob in it.
fn room() -> Room {
    let mut room = Room::new("12");
    room.join(BOB).unwrap();
    room
}

/// What an event of Alice's means to Bob.
fn to_bob(room: &mut Room, rules: &Ruleset, event_type: &str, content: Value) -> PushDecision {
    let event = room.send(ALICE, event_type, None, content).unwrap();
    let member = room.state.get("m.room.member", BOB).cloned();
    let mut context = context(event.room_id(), user(BOB), member.as_deref(), 2);
    context.power_levels = power_levels(&room.state);
    evaluate(rules, &flatten(&event), &context)
}

fn defaults() -> Ruleset {
    rules(None, user(BOB)).unwrap()
}

#[test]
fn default_push_rules_match_the_specification() {
    let mut room = room();
    let cases = [
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": "hello"}),
            PushDecision::Notify,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.notice", "body": "hello"}),
            PushDecision::Silent,
        ),
        (
            "m.room.encrypted",
            json!({"ciphertext": "…"}),
            PushDecision::Notify,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [BOB]}}),
            PushDecision::Highlight,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": format!("you, {BOB}!")}),
            PushDecision::Highlight,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": format!("about {BOB}"), "m.mentions": {}}),
            PushDecision::Notify,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": "all", "m.mentions": {"room": true}}),
            PushDecision::Highlight,
        ),
        (
            "m.room.message",
            json!({
                "msgtype": "m.text", "body": "* hello",
                "m.relates_to": {"rel_type": "m.replace", "event_id": "$event"},
            }),
            PushDecision::Silent,
        ),
        (
            "m.reaction",
            json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$event", "key": "👍"}}),
            PushDecision::Silent,
        ),
        (
            "org.example.other",
            json!({"body": "hello"}),
            PushDecision::Silent,
        ),
    ];
    for (event_type, content, expected) in cases {
        let found = to_bob(&mut room, &defaults(), event_type, content.clone());
        assert_eq!(found, expected, "{event_type} {content}");
    }
}

#[test]
fn at_room_needs_the_notifications_power_level() {
    let mut room = room();
    let everybody = json!({"msgtype": "m.text", "body": "all", "m.mentions": {"room": true}});
    let event = room.send(BOB, "m.room.message", None, everybody).unwrap();
    let member = room.state.get("m.room.member", ALICE).cloned();
    let mut context = context(event.room_id(), user(ALICE), member.as_deref(), 3);
    context.power_levels = power_levels(&room.state);
    let rules = rules(None, user(ALICE)).unwrap();
    assert_eq!(
        evaluate(&rules, &flatten(&event), &context),
        PushDecision::Notify
    );
}

#[test]
fn users_are_not_notified_of_their_own_events() {
    let mut room = room();
    let content = json!({"msgtype": "m.text", "body": "me", "m.mentions": {"user_ids": [ALICE]}});
    let event = room.send(ALICE, "m.room.message", None, content).unwrap();
    let member = room.state.get("m.room.member", ALICE).cloned();
    let context = context(event.room_id(), user(ALICE), member.as_deref(), 2);
    let rules = rules(None, user(ALICE)).unwrap();
    assert_eq!(
        evaluate(&rules, &flatten(&event), &context),
        PushDecision::Silent
    );
}

#[test]
fn stored_rules_are_merged_with_the_defaults() {
    let mut room = room();
    let mute = json!({"global": {"override": [{
        "rule_id": "mute", "default": false, "enabled": true, "actions": [],
        "conditions": [{"kind": "event_match", "key": "content.body", "pattern": "*weather*"}],
    }]}});
    let rules = rules(Some(&mute.to_string()), user(BOB)).unwrap();
    let mut said = |body: &str| {
        let content = json!({"msgtype": "m.text", "body": body});
        to_bob(&mut room, &rules, "m.room.message", content)
    };
    assert_eq!(said("what weather today"), PushDecision::Silent);
    assert_eq!(said("hello"), PushDecision::Notify);
}

#[test]
fn polls_notify_by_their_start_and_end() {
    let mut room = room();
    let cases = [
        ("start", PushDecision::Notify),
        ("response", PushDecision::Silent),
        ("end", PushDecision::Notify),
    ];
    for (name, expected) in cases {
        let event_type = format!("org.matrix.msc3381.poll.{name}");
        let found = to_bob(&mut room, &defaults(), &event_type, json!({}));
        assert_eq!(found, expected, "{name}");
    }
    // Of two members, with a sound.
    let event = room.send(ALICE, "org.matrix.msc3381.poll.start", None, json!({}));
    let flattened = flatten(&event.unwrap());
    let sound = |members| {
        let event_room = ruma::room_id!("!room:a.org");
        let context = context(event_room, user(BOB), None, members);
        let rules = defaults();
        let actions = actions(&rules, &flattened, &context);
        actions.iter().any(|action| action.sound().is_some())
    };
    assert!(sound(2) && !sound(3));
}

#[test]
fn every_condition_of_the_specification_is_understood() {
    let mut room = room();
    let conditions = [
        (
            json!({"kind": "event_match", "key": "content.body", "pattern": "CAKE"}),
            true,
        ),
        (
            json!({"kind": "event_match", "key": "content.body", "pattern": "cak"}),
            false,
        ),
        (
            json!({"kind": "event_match", "key": "type", "pattern": "org.*.cake"}),
            true,
        ),
        (
            json!({"kind": "event_property_is", "key": "content.slices", "value": 3}),
            true,
        ),
        (
            json!({"kind": "event_property_is", "key": "content.slices", "value": "3"}),
            false,
        ),
        (
            json!({"kind": "event_property_is", "key": "content.a\\.b", "value": true}),
            true,
        ),
        (
            json!({"kind": "event_property_contains", "key": "content.for", "value": "all"}),
            true,
        ),
        (
            json!({"kind": "event_property_contains", "key": "content.for", "value": "al"}),
            false,
        ),
        (json!({"kind": "room_member_count", "is": "2"}), true),
        (json!({"kind": "room_member_count", "is": "<2"}), false),
        (
            json!({"kind": "sender_notification_permission", "key": "room"}),
            true,
        ),
        (json!({"kind": "contains_display_name"}), false),
        (json!({"kind": "org.example.unknown"}), false),
    ];
    for (condition, applies) in conditions {
        let stored = json!({"global": {"override": [{
            "rule_id": "own", "default": false, "enabled": true, "actions": ["notify"],
            "conditions": [condition],
        }]}});
        let rules = rules(Some(&stored.to_string()), user(BOB)).unwrap();
        let content = json!({
            "body": "some cake", "slices": 3, "a.b": true, "for": ["all", 1],
        });
        let found = to_bob(&mut room, &rules, "org.example.cake", content);
        assert_eq!(found == PushDecision::Notify, applies, "{condition}");
    }
}

#[test]
fn historical_actions_are_ignored() {
    let mut room = room();
    for (actions, expected) in [
        (json!(["dont_notify"]), PushDecision::Silent),
        (json!(["coalesce"]), PushDecision::Silent),
        (json!(["notify", "coalesce"]), PushDecision::Notify),
    ] {
        let stored = json!({"global": {"override": [{
            "rule_id": "own", "default": false, "enabled": true, "actions": actions,
            "conditions": [],
        }]}});
        let rules = rules(Some(&stored.to_string()), user(BOB)).unwrap();
        let found = to_bob(&mut room, &rules, "m.room.message", json!({"body": "x"}));
        assert_eq!(found, expected, "{actions}");
    }
}
