use ruma::{EventId, RoomId};
use serde_json::{Value, json, value::RawValue};

use super::*;
use crate::fixture::{ALICE, draft, signer, version};

fn build(number: &str, draft: Draft) -> Result<Pdu, FormatError> {
    let parents = Parents {
        prev_events: vec![EventId::parse("$p").unwrap()],
        auth_events: vec![EventId::parse("$a").unwrap()],
        reference_hashes: [("$p", "pp"), ("$a", "aa")]
            .map(|(id, hash)| (EventId::parse(id).unwrap(), hash.to_owned()))
            .into(),
        depth: 7,
    };
    let room_id = Some(RoomId::parse("!room:example.org").unwrap());
    Draft { room_id, ..draft }.build(&version(number), parents, &signer("example.org"))
}

#[test]
fn a_draft_becomes_an_event_with_hash_and_signature() {
    let pdu = build(
        "12",
        draft(ALICE, "m.room.topic", Some(""), &json!({"topic": "t"})),
    )
    .unwrap();
    let event: Value = serde_json::from_str(pdu.json()).unwrap();
    assert_eq!(event["content"], json!({"topic": "t"}));
    assert_eq!(event["depth"], 7);
    assert_eq!(event["prev_events"], json!(["$p"]));
    assert_eq!(event["auth_events"], json!(["$a"]));
    assert_eq!(event["state_key"], "");
    assert!(event["hashes"]["sha256"].is_string());
    assert!(event["signatures"]["example.org"]["ed25519:1"].is_string());
    let parsed = Pdu::parse(pdu.json(), &version("12")).unwrap();
    assert_eq!(parsed.event_id(), pdu.event_id());
}

#[test]
fn redacts_is_put_where_the_version_wants_it() {
    for (number, top, inside) in [("10", Some("$x"), None), ("11", None, Some("$x"))] {
        let plain = draft(ALICE, "m.room.redaction", None, &json!({"reason": "spam"}));
        let redacts = Some(EventId::parse("$x").unwrap());
        let pdu = build(number, Draft { redacts, ..plain }).unwrap();
        let event: Value = serde_json::from_str(pdu.json()).unwrap();
        assert_eq!(event.get("redacts").and_then(Value::as_str), top);
        assert_eq!(
            event["content"].get("redacts").and_then(Value::as_str),
            inside
        );
        assert_eq!(event["content"]["reason"], "spam");
        assert_eq!(pdu.redacts().unwrap(), "$x");
    }
}

#[test]
fn floats_and_great_integers_are_bad_json() {
    for content in [
        r#"{"n":1.0}"#,
        r#"{"n":9007199254740992}"#,
        r#"{"n":[{"m":-1e3}]}"#,
    ] {
        let content = RawValue::from_string(content.to_owned()).unwrap();
        let draft = Draft {
            content,
            ..draft(ALICE, "m.room.message", None, &json!({}))
        };
        let error = build("12", draft).unwrap_err();
        assert!(matches!(error, FormatError::NotCanonical(_)), "{error:?}");
        assert_eq!(types::Fault::kind(&error), types::ErrorKind::BadJson);
    }
}

#[test]
fn content_must_be_an_object() {
    for content in [json!([]), json!("text"), json!(null), json!(5)] {
        let error = build("12", draft(ALICE, "m.room.message", None, &content)).unwrap_err();
        assert!(matches!(error, FormatError::Malformed(_)), "{error:?}");
    }
}

#[test]
fn too_large_events_have_their_own_error() {
    let body = json!({"body": "x".repeat(65_536)});
    for draft in [
        draft(ALICE, "m.room.message", None, &body),
        draft(ALICE, &"t".repeat(256), None, &json!({})),
        draft(ALICE, "m.x", Some(&"k".repeat(256)), &json!({})),
    ] {
        let error = build("12", draft).unwrap_err();
        assert_eq!(
            types::Fault::kind(&error),
            types::ErrorKind::TooLarge,
            "{error:?}"
        );
    }
}

#[test]
fn fields_of_own_events_are_limited_in_bytes_in_every_version() {
    for (characters, is_allowed) in [(127, true), (128, false)] {
        let key = "é".repeat(characters);
        let built = build("10", draft(ALICE, "m.x", Some(&key), &json!({})));
        assert_eq!(built.is_ok(), is_allowed);
    }
}

#[test]
fn only_the_create_event_of_version_12_needs_no_room() {
    let signer = signer("example.org");
    let create = draft(
        ALICE,
        "m.room.create",
        Some(""),
        &json!({"room_version": "12"}),
    );
    let pdu = create
        .clone()
        .build(&version("12"), Parents::default(), &signer)
        .unwrap();
    assert!(!pdu.json().contains("\"room_id\""));
    assert_eq!(pdu.room_id().as_str().len(), 44);
    assert!(
        create
            .build(&version("11"), Parents::default(), &signer)
            .is_err()
    );
    let message = draft(ALICE, "m.room.message", None, &json!({}));
    assert!(
        message
            .build(&version("12"), Parents::default(), &signer)
            .is_err()
    );
}
