use serde_json::{Value, json};

use super::*;
use crate::{
    Draft, Parents,
    fixture::{ALICE, BOB, Room, draft, signer, version},
};

const EVERY: [&str; 6] = ["5", "6", "8", "9", "10", "12"];

/// What is left of an event's content in a room version.
fn left(number: &str, event_type: &str, content: &Value) -> Value {
    let version = version(number);
    let room_id = Some(ruma::RoomId::parse("!room:example.org").unwrap());
    let draft = Draft {
        room_id,
        ..draft(ALICE, event_type, Some(""), content)
    };
    let event = draft
        .build(&version, Parents::default(), &signer("example.org"))
        .unwrap();
    let redacted = redact(&version, &event).unwrap();
    assert_eq!(redacted.event_id(), event.event_id());
    // The signatures and the reference hash survive.
    let again = Pdu::parse(redacted.json(), &version).unwrap();
    assert_eq!(again.event_id(), event.event_id());
    assert_eq!(again.json(), redacted.json());
    redacted.content_as().unwrap()
}

#[test]
fn a_message_loses_its_content() {
    for number in EVERY {
        let content = json!({"body": "secret", "msgtype": "m.text"});
        assert_eq!(left(number, "m.room.message", &content), json!({}));
    }
}

#[test]
fn each_version_keeps_what_its_rules_need() {
    let member = json!({
        "membership": "join", "displayname": "Al", "join_authorised_via_users_server": BOB,
        "third_party_invite": {"display_name": "a", "signed": {"token": "t"}},
    });
    for number in EVERY {
        let mut kept = json!({"membership": "join"});
        if ["9", "10", "12"].contains(&number) {
            kept["join_authorised_via_users_server"] = json!(BOB);
        }
        if number == "12" {
            kept["third_party_invite"] = json!({"signed": {"token": "t"}});
        }
        assert_eq!(left(number, "m.room.member", &member), kept, "{number}");
    }
    let create = json!({"creator": ALICE, "room_version": "x", "other": 1});
    assert_eq!(
        left("10", "m.room.create", &create),
        json!({"creator": ALICE})
    );
    assert_eq!(left("12", "m.room.create", &create), create);
    let rules = json!({"join_rule": "restricted", "allow": [1], "other": 1});
    assert_eq!(
        left("6", "m.room.join_rules", &rules),
        json!({"join_rule": "restricted"})
    );
    let kept = json!({"join_rule": "restricted", "allow": [1]});
    assert_eq!(left("8", "m.room.join_rules", &rules), kept);
    let levels = json!({"ban": 1, "invite": 2, "notifications": {"room": 3}, "users": {}});
    assert_eq!(
        left("10", "m.room.power_levels", &levels),
        json!({"ban": 1, "users": {}})
    );
    let kept = json!({"ban": 1, "invite": 2, "users": {}});
    assert_eq!(left("12", "m.room.power_levels", &levels), kept);
    let aliases = json!({"aliases": ["#a:b"], "other": 1});
    assert_eq!(
        left("5", "m.room.aliases", &aliases),
        json!({"aliases": ["#a:b"]})
    );
    assert_eq!(left("6", "m.room.aliases", &aliases), json!({}));
    let visibility = json!({"history_visibility": "joined", "other": 1});
    for number in EVERY {
        let kept = json!({"history_visibility": "joined"});
        assert_eq!(left(number, "m.room.history_visibility", &visibility), kept);
    }
}

#[test]
fn a_redacted_redaction_names_its_target_since_version_11() {
    let content = json!({"redacts": "$x", "reason": "r"});
    assert_eq!(left("10", "m.room.redaction", &content), json!({}));
    assert_eq!(
        left("12", "m.room.redaction", &content),
        json!({"redacts": "$x"})
    );
}

#[test]
fn redaction_keeps_top_level_fields_per_room_version() {
    for (number, stays) in [("10", true), ("11", false)] {
        let version = version(number);
        let json = json!({
            "room_id": "!r:a", "sender": "@a:a", "type": "m.x", "content": {"a": 1}, "depth": 1,
            "origin_server_ts": 1, "prev_events": [], "auth_events": [], "hashes": {},
            "signatures": {}, "origin": "a", "membership": "join", "extra": 1, "redacts": "$y",
        });
        let event = Pdu::parse(&json.to_string(), &version)
            .unwrap()
            .with_verdict(crate::Verdict::Rejected);
        let redacted = redact(&version, &event).unwrap();
        let object: Value = serde_json::from_str(redacted.json()).unwrap();
        assert_eq!(object.get("origin").is_some(), stays);
        assert_eq!(object.get("membership").is_some(), stays);
        assert!(object.get("extra").is_none() && object.get("redacts").is_none());
        assert_eq!(redacted.verdict(), crate::Verdict::Rejected);
    }
}

#[test]
fn a_redaction_applies_to_the_same_server_or_by_power() {
    let mut room = Room::new("12");
    let guest = "@dora:elsewhere.org";
    for user in [BOB, guest] {
        room.join(user).unwrap();
    }
    let mine = room.message(ALICE).unwrap();
    let version = room.version.clone();
    let levels = PowerLevels::of(&room.state, &version);
    let mut by = |sender: &str, target: &Pdu| {
        let content = json!({"redacts": target.event_id()});
        let redaction = room
            .send(sender, "m.room.redaction", None, content)
            .unwrap();
        applies(&version, &levels, &redaction, target)
    };
    assert!(by(ALICE, &mine));
    assert!(by(BOB, &mine));
    assert!(!by(guest, &mine));
    let other = room.message(guest).unwrap();
    let mut by = |sender: &str, target: &Pdu, named: &Pdu| {
        let content = json!({"redacts": named.event_id()});
        let redaction = room
            .send(sender, "m.room.redaction", None, content)
            .unwrap();
        applies(&version, &levels, &redaction, target)
    };
    assert!(by(ALICE, &other, &other));
    assert!(!by(BOB, &other, &other));
    assert!(!by(ALICE, &other, &mine));
}

/// Spec: rooms v1, "Authorisation rules", 11: by power level, or by the domain of the event ids.
#[test]
fn in_versions_1_and_2_the_authorisation_rules_decide_on_redactions() {
    for number in ["1", "2"] {
        let mut room = Room::new(number);
        let guest = "@dora:elsewhere.org";
        for user in [BOB, guest] {
            room.join(user).unwrap();
        }
        let (mine, others) = (room.message(ALICE).unwrap(), room.message(guest).unwrap());
        let mut redaction = |sender: &str, target: &Pdu| {
            let content = json!({"redacts": target.event_id()});
            room.send(sender, "m.room.redaction", None, content)
        };
        assert!(redaction(BOB, &others).is_err());
        assert!(redaction(guest, &mine).is_err());
        for (sender, target) in [(ALICE, &others), (BOB, &mine), (guest, &others)] {
            let redaction = redaction(sender, target).unwrap();
            let levels = PowerLevels::from_events(None, None, &version(number));
            assert!(applies(&version(number), &levels, &redaction, target));
            assert!(!applies(&version(number), &levels, &redaction, &redaction));
        }
    }
}
