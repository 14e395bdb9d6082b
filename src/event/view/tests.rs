use proptest::prelude::*;
use ruma::EventId;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{ALICE, BOB, Room, draft, signer, version};
use crate::{Draft, Parents};

fn event(number: &str, draft: Draft) -> Pdu {
    let room_id = Some(ruma::RoomId::parse("!room:example.org").unwrap());
    let draft = Draft { room_id, ..draft };
    draft
        .build(&version(number), Parents::default(), &signer("example.org"))
        .unwrap()
}

fn written(view: &ClientEvent<'_>) -> String {
    let mut out = String::from("[");
    view.write(&mut out);
    out.strip_prefix('[').unwrap().to_owned()
}

fn told(view: &ClientEvent<'_>, common: Common<'_>, per_reader: PerReader<'_>) -> String {
    let mut out = String::new();
    view.write_with(common, per_reader, &mut out);
    out
}

#[test]
fn a_client_sees_the_event_without_its_federation_fields() {
    let pdu = event(
        "12",
        draft(ALICE, "m.room.message", None, &json!({"body": "hi"})),
    );
    let id = pdu.event_id();
    assert_eq!(
        written(&ClientEvent::of(&pdu)),
        format!(
            r#"{{"content":{{"body":"hi"}},"event_id":"{id}","origin_server_ts":1000,"room_id":"!room:example.org","sender":"@alice:example.org","type":"m.room.message"}}"#
        )
    );
    let without_room = ClientEvent {
        room_id: false,
        ..ClientEvent::of(&pdu)
    };
    assert!(!written(&without_room).contains("room_id"));
    let state = event("12", draft(ALICE, "m.room.topic", Some(""), &json!({})));
    assert!(written(&ClientEvent::of(&state)).contains(r#""state_key":"","type""#));
}

#[test]
fn unsigned_has_what_is_given_and_nothing_else() {
    let pdu = event(
        "12",
        draft(ALICE, "m.room.topic", Some(""), &json!({"topic": "b"})),
    );
    let replaced = event(
        "12",
        draft(BOB, "m.room.topic", Some(""), &json!({"topic": "a"})),
    );
    let unsigned = |common, per_reader| -> Value {
        let value: Value =
            serde_json::from_str(&told(&ClientEvent::of(&pdu), common, per_reader)).unwrap();
        value["unsigned"].clone()
    };
    let bare: Value = serde_json::from_str(&written(&ClientEvent::of(&pdu))).unwrap();
    assert_eq!(bare["unsigned"], Value::Null);
    let young = PerReader::age(&pdu, 1_000);
    assert_eq!(unsigned(Common::default(), young), json!({"age": 0}));
    let transaction = PerReader {
        transaction_id: Some("a\"b"),
        ..young
    };
    assert_eq!(
        unsigned(Common::default(), transaction),
        json!({"age": 0, "transaction_id": "a\"b"})
    );
    let common = Common {
        replaced: Some(&replaced),
        redacted_because: None,
    };
    let all = PerReader {
        age_ms: 12,
        transaction_id: Some("m1"),
        membership: Some("join"),
        relations: Some(r#"{"m.reference":{"chunk":[]}}"#),
    };
    assert_eq!(
        unsigned(common, all),
        json!({
            "m.relations": {"m.reference": {"chunk": []}}, "age": 12, "transaction_id": "m1", "prev_content": {"topic": "a"},
            "prev_sender": BOB, "replaces_state": replaced.event_id(), "membership": "join",
        })
    );
}

#[test]
fn redacts_is_written_at_both_places_in_every_version() {
    for number in ["3", "10", "11", "12"] {
        let plain = draft(ALICE, "m.room.redaction", None, &json!({"reason": "r"}));
        let redacts = Some(EventId::parse("$x").unwrap());
        let pdu = event(number, Draft { redacts, ..plain });
        let value: Value = serde_json::from_str(&written(&ClientEvent::of(&pdu))).unwrap();
        assert_eq!(value["redacts"], "$x");
        assert_eq!(value["content"], json!({"reason": "r", "redacts": "$x"}));
    }
}

#[test]
fn a_forged_target_in_the_content_is_overwritten() {
    let plain = draft(
        ALICE,
        "m.room.redaction",
        None,
        &json!({"redacts": "$forged"}),
    );
    let redacts = Some(EventId::parse("$x").unwrap());
    let pdu = event("10", Draft { redacts, ..plain });
    let value: Value = serde_json::from_str(&written(&ClientEvent::of(&pdu))).unwrap();
    assert_eq!(value["content"], json!({"redacts": "$x"}));
}

#[test]
fn a_redacted_event_contains_redacted_because() {
    let mut room = Room::new("12");
    let message = room.message(ALICE).unwrap();
    let content = json!({"redacts": message.event_id(), "reason": "spam"});
    let redaction = room.send(ALICE, "m.room.redaction", None, content).unwrap();
    let pruned = crate::redact(&room.version, &message).unwrap();
    let common = Common {
        replaced: None,
        redacted_because: Some(&redaction),
    };
    let view = ClientEvent {
        room_id: false,
        pdu: &pruned,
    };
    let text = told(&view, common, PerReader::age(&pruned, 0));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["content"], json!({}));
    let because = &value["unsigned"]["redacted_because"];
    assert_eq!(because["type"], "m.room.redaction");
    assert_eq!(because["redacts"], message.event_id().as_str());
    assert_eq!(because["content"]["reason"], "spam");
    assert!(because.get("room_id").is_none() && because.get("unsigned").is_none());
}

#[test]
fn stripped_state_has_four_fields() {
    let pdu = event(
        "12",
        draft(ALICE, "m.room.name", Some("k"), &json!({"name": "n"})),
    );
    let mut out = String::new();
    stripped(&pdu, &mut out);
    assert_eq!(
        out,
        r#"{"content":{"name":"n"},"sender":"@alice:example.org","state_key":"k","type":"m.room.name"}"#
    );
}

proptest! {
    #[test]
    fn strings_are_written_as_serde_json_writes_them(text in any::<String>()) {
        let mut out = String::new();
        push_json_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
    }

    #[test]
    fn every_view_is_json(event_type in "[^\u{0}]{0,20}", key in any::<Option<String>>(), body in any::<String>()) {
        let content = json!({"body": body});
        let key = key.filter(|key| key.len() < 256);
        let pdu = event("12", draft(ALICE, &event_type, key.as_deref(), &content));
        let value: Value = serde_json::from_str(&written(&ClientEvent::of(&pdu))).unwrap();
        prop_assert_eq!(&value["type"], &json!(event_type));
        prop_assert_eq!(value.get("state_key").and_then(Value::as_str), key.as_deref());
        prop_assert_eq!(&value["content"], &content);
    }
}
