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
fn to_bob(room: &mut Room, rules: &Ruleset, kind: &str, content: Value) -> Notice {
    let event = room.send(ALICE, kind, None, content).unwrap();
    let mut context = context(event.room_id(), user(BOB), &room.state, 2);
    context.power_levels = power_levels(&room.state);
    notice(rules, &flatten(&event), &context)
}

fn defaults() -> Ruleset {
    rules(None, user(BOB)).unwrap()
}

#[test]
fn default_rules_give_the_notices_of_the_specification() {
    let mut room = room();
    let cases = [
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": "hello"}),
            Notice::Notify,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.notice", "body": "hello"}),
            Notice::Silent,
        ),
        (
            "m.room.encrypted",
            json!({"ciphertext": "…"}),
            Notice::Notify,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [BOB]}}),
            Notice::Highlight,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": format!("you, {BOB}!")}),
            Notice::Highlight,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": format!("about {BOB}"), "m.mentions": {}}),
            Notice::Notify,
        ),
        (
            "m.room.message",
            json!({"msgtype": "m.text", "body": "all", "m.mentions": {"room": true}}),
            Notice::Highlight,
        ),
        (
            "m.room.message",
            json!({
                "msgtype": "m.text", "body": "* hello",
                "m.relates_to": {"rel_type": "m.replace", "event_id": "$event"},
            }),
            Notice::Silent,
        ),
        (
            "m.reaction",
            json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$event", "key": "👍"}}),
            Notice::Silent,
        ),
        (
            "org.example.other",
            json!({"body": "hello"}),
            Notice::Silent,
        ),
    ];
    for (kind, content, expected) in cases {
        let found = to_bob(&mut room, &defaults(), kind, content.clone());
        assert_eq!(found, expected, "{kind} {content}");
    }
}

#[test]
fn only_who_may_notify_the_room_does() {
    let mut room = room();
    let everybody = json!({"msgtype": "m.text", "body": "all", "m.mentions": {"room": true}});
    let event = room.send(BOB, "m.room.message", None, everybody).unwrap();
    let mut context = context(event.room_id(), user(ALICE), &room.state, 3);
    context.power_levels = power_levels(&room.state);
    let rules = rules(None, user(ALICE)).unwrap();
    assert_eq!(notice(&rules, &flatten(&event), &context), Notice::Notify);
}

#[test]
fn nobody_is_notified_of_own_events() {
    let mut room = room();
    let content = json!({"msgtype": "m.text", "body": "me", "m.mentions": {"user_ids": [ALICE]}});
    let event = room.send(ALICE, "m.room.message", None, content).unwrap();
    let context = context(event.room_id(), user(ALICE), &room.state, 2);
    let rules = rules(None, user(ALICE)).unwrap();
    assert_eq!(notice(&rules, &flatten(&event), &context), Notice::Silent);
}

#[test]
fn stored_rules_count_beside_the_defaults() {
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
    assert_eq!(said("what weather today"), Notice::Silent);
    assert_eq!(said("hello"), Notice::Notify);
}
