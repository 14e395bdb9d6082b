use proptest::prelude::*;
use ruma::{EventId, RoomId};
use serde_json::{Value, json};

use super::*;
use crate::{
    canonical_object,
    fixture::{ALICE, Room, draft, signer, version},
};

mod legacy;

fn plain() -> Value {
    json!({
        "room_id": "!room:example.org", "sender": ALICE, "type": "m.room.message",
        "origin_server_ts": 1_000_000, "depth": 3, "prev_events": ["$a"], "auth_events": ["$b"],
        "content": {"body": "hi"}, "hashes": {"sha256": "x"}, "signatures": {},
    })
}

fn with(field: &str, value: Value) -> String {
    let mut event = plain();
    event[field] = value;
    event.to_string()
}

fn without(field: &str) -> String {
    let mut event = plain();
    event.as_object_mut().unwrap().remove(field);
    event.to_string()
}

fn parse(json: &str) -> Result<Pdu, FormatError> {
    Pdu::parse(json, &version("10"))
}

fn text(object: ruma::CanonicalJsonObject) -> Result<String, FormatError> {
    EventJson::from(object).text()
}

#[test]
fn all_fields_of_an_event_are_parsed() {
    let pdu = parse(&with("state_key", json!("key"))).unwrap();
    assert_eq!(pdu.room_id(), "!room:example.org");
    assert_eq!(pdu.sender(), ALICE);
    assert_eq!(pdu.event_type(), "m.room.message");
    assert_eq!(pdu.timeline_event_type(), &TimelineEventType::RoomMessage);
    assert_eq!(pdu.state_key(), Some("key"));
    assert_eq!(pdu.content().get(), r#"{"body":"hi"}"#);
    assert_eq!(pdu.origin_server_ts().get(), 1_000_000_u32.into());
    assert_eq!(pdu.depth(), 3);
    assert_eq!(pdu.prev_events(), [EventId::parse("$a").unwrap()]);
    assert_eq!(pdu.auth_events(), [EventId::parse("$b").unwrap()]);
    assert!(pdu.is_state() && pdu.verdict() == Verdict::Accepted);
    assert!(pdu.weight() > pdu.json().len());
}

#[test]
fn the_text_becomes_canonical_and_loses_unsigned() {
    let spaced = serde_json::to_string_pretty(&plain()).unwrap();
    let pdu = parse(&spaced).unwrap();
    assert!(
        pdu.json()
            .starts_with(r#"{"auth_events":["$b"],"content":{"body":"hi"},"depth":3,"#)
    );
    let signed_by_nobody = parse(&with("unsigned", json!({"age": 4}))).unwrap();
    assert_eq!(signed_by_nobody.json(), pdu.json());
    assert_eq!(signed_by_nobody.event_id(), pdu.event_id());
}

#[test]
fn stored_text_gives_the_same_event() {
    let rooms = ["1", "2", "3", "12"].map(Room::new);
    let events = rooms
        .iter()
        .flat_map(|room| room.events.values().map(move |event| (room, event)));
    for (room, event) in events {
        let stored = Pdu::from_stored(
            event.event_id().clone(),
            event.room_id().clone(),
            event.json().into(),
        )
        .unwrap();
        assert_eq!(format!("{stored:?}"), format!("{:?}", **event));
        let parsed = Pdu::parse(event.json(), &room.version).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", **event));
    }
}

#[test]
fn the_event_id_is_the_reference_hash_in_the_alphabet_of_the_version() {
    // The same bytes, once in the standard and once in the URL-safe alphabet.
    let ids = ["3", "4"].map(|number| {
        let pdu = Pdu::parse(&plain().to_string(), &version(number)).unwrap();
        pdu.event_id().to_string()
    });
    let [old, new] = ids;
    assert_eq!(old.len(), 44);
    assert_eq!(old.replace('+', "-").replace('/', "_"), new);
}

#[test]
fn the_room_id_of_version_12_is_the_hash_of_the_create_event() {
    let mut create = plain();
    create.as_object_mut().unwrap().remove("room_id");
    create["type"] = json!("m.room.create");
    let pdu = Pdu::parse(&create.to_string(), &version("12")).unwrap();
    assert_eq!(
        pdu.room_id().as_str().get(1..),
        pdu.event_id().as_str().get(1..)
    );
    assert_eq!(ruma::state_res::Event::room_id(&pdu), None);
    assert!(Pdu::parse(&create.to_string(), &version("11")).is_err());
    let message = without("room_id");
    assert!(Pdu::parse(&message, &version("12")).is_err());
}

#[test]
fn auth_events_of_version_12_do_not_name_the_create_event() {
    let mut event = plain();
    event["room_id"] = json!("!abc");
    event["auth_events"] = json!(["$abc"]);
    assert!(Pdu::parse(&event.to_string(), &version("12")).is_err());
    event["auth_events"] = json!(["$abd"]);
    assert!(Pdu::parse(&event.to_string(), &version("12")).is_ok());
}

#[test]
fn a_malformed_event_is_refused() {
    let mut cases = vec!["{}".to_owned(), "[]".to_owned(), "null".to_owned()];
    for field in [
        "room_id",
        "sender",
        "type",
        "content",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    ] {
        cases.push(without(field));
        cases.push(with(field, json!(null)));
        cases.push(with(field, json!(true)));
    }
    cases.extend([
        with("state_key", json!(null)),
        with("state_key", json!(5)),
        with("sender", json!("alice")),
        with("room_id", json!("room")),
        with("content", json!("text")),
        with("depth", json!(-1)),
        with("origin_server_ts", json!(-1)),
        with("prev_events", json!([5])),
        with("prev_events", json!(["no sigil"])),
        with("prev_events", json!(vec!["$a"; 21])),
        with("auth_events", json!(vec!["$a"; 11])),
    ]);
    for case in cases {
        let error = parse(&case).unwrap_err();
        assert!(
            matches!(error, FormatError::Malformed(_)),
            "{case}: {error:?}"
        );
    }
}

#[test]
fn non_canonical_json_is_refused() {
    for number in [
        "1.5",
        "1e3",
        "1E-2",
        "-0",
        "9007199254740992",
        "-9007199254740992",
        "1e999",
    ] {
        let text = with("content", json!({"n": "N"})).replace("\"N\"", number);
        let error = parse(&text).unwrap_err();
        assert!(
            matches!(error, FormatError::NotCanonical(_)),
            "{number}: {error:?}"
        );
    }
    for number in ["9007199254740991", "-9007199254740991", "0"] {
        let text = with("content", json!({"n": "N"})).replace("\"N\"", number);
        assert!(parse(&text).is_ok(), "{number}");
    }
}

#[test]
fn invalid_json_is_refused() {
    let deep = with("content", json!({"n": "N"})).replace(
        "\"N\"",
        &format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)),
    );
    for text in [
        "",
        "{",
        "{\"a\":NaN}",
        "{\"a\":\"\\ud800\"}",
        "{} {}",
        deep.as_str(),
    ] {
        assert!(
            matches!(parse(text), Err(FormatError::NotJson(_))),
            "{text:.40}"
        );
    }
}

#[test]
fn an_event_of_64_kibibytes_is_allowed_and_one_byte_more_is_not() {
    let size = |body: usize| with("content", json!({"body": "x".repeat(body)}));
    let body = 65_536 - size(0).len();
    assert_eq!(parse(&size(body)).unwrap().json().len(), 65_536);
    assert!(matches!(
        parse(&size(body + 1)),
        Err(FormatError::TooLarge {
            what: "event",
            bytes: 65_537,
            limit: 65_536
        })
    ));
    assert!(matches!(
        parse(&"[".repeat(1_000_000)),
        Err(FormatError::TooLarge { what: "text", .. })
    ));
}

#[test]
fn a_field_of_255_bytes_is_allowed_and_one_more_is_not() {
    // Bytes, not characters.
    let long = format!("{}y", "é".repeat(127));
    let parse_11 = |json: &str| Pdu::parse(json, &version("11"));
    for field in ["state_key", "type"] {
        assert!(parse_11(&with(field, json!(long))).is_ok());
        let error = parse_11(&with(field, json!(format!("{long}z")))).unwrap_err();
        assert!(
            matches!(error, FormatError::TooLarge { limit: 255, .. }),
            "{error:?}"
        );
    }
    for (field, sigil) in [("sender", '@'), ("room_id", '!')] {
        let id = |n: usize| json!(format!("{sigil}{}:example.org", "a".repeat(n - 13)));
        assert!(parse(&with(field, id(255))).is_ok());
        let error = parse(&with(field, id(256))).unwrap_err();
        assert!(
            matches!(error, FormatError::TooLarge { limit: 255, .. }),
            "{error:?}"
        );
    }
}

#[test]
fn before_version_11_events_of_others_may_have_fields_of_255_characters() {
    for (number, is_allowed) in [("1", true), ("10", true), ("11", false), ("12", false)] {
        let mut event = plain();
        event["event_id"] = json!("$event:example.org");
        event["state_key"] = json!("💥".repeat(255));
        let [prev_events, auth_events] = match number {
            "1" => [json!([]), json!([])],
            _ => [event["prev_events"].clone(), event["auth_events"].clone()],
        };
        event["prev_events"] = prev_events;
        event["auth_events"] = auth_events;
        let parsed = Pdu::parse(&event.to_string(), &version(number));
        assert_eq!(parsed.is_ok(), is_allowed, "version {number}");
        event["state_key"] = json!("💥".repeat(256));
        let parsed = Pdu::parse(&event.to_string(), &version(number));
        assert!(matches!(parsed, Err(FormatError::TooLarge { .. })));
    }
}

#[test]
fn a_redaction_names_its_target_where_the_version_wants_it() {
    let mut event = plain();
    event["type"] = json!("m.room.redaction");
    event["redacts"] = json!("$top");
    event["content"] = json!({"redacts": "$content"});
    let target = |number| {
        let pdu = Pdu::parse(&event.to_string(), &version(number)).unwrap();
        assert_eq!(
            crate::redact::redaction_target(&version(number), &pdu).as_deref(),
            pdu.redacts()
        );
        pdu.redacts().unwrap().to_string()
    };
    assert_eq!(target("10"), "$top");
    assert_eq!(target("11"), "$content");
}

#[test]
fn only_redactions_redact() {
    assert_eq!(
        parse(&with("redacts", json!("$a"))).unwrap().redacts(),
        None
    );
    assert_eq!(parse(&with("redacts", json!(5))).unwrap().redacts(), None);
}

#[test]
fn membership_is_read_from_member_events_only() {
    let member = |content| {
        let draft = draft(ALICE, "m.room.member", Some(ALICE), &content);
        let draft = crate::Draft {
            room_id: Some(RoomId::parse("!r:a").unwrap()),
            ..draft
        };
        draft
            .build(
                &version("10"),
                crate::Parents::default(),
                &signer("example.org"),
            )
            .unwrap()
    };
    assert_eq!(
        member(json!({"membership": "ban"})).membership(),
        Some(MembershipState::Ban)
    );
    assert_eq!(member(json!({"membership": 5})).membership(), None);
    let message = with("content", json!({"membership": "join"}));
    assert_eq!(parse(&message).unwrap().membership(), None);
}

#[test]
fn types_and_keys_that_need_escapes_are_read() {
    let pdu = parse(&with("type", json!("a\"b\n"))).unwrap();
    assert_eq!(pdu.event_type(), "a\"b\n");
    let pdu = parse(&with("state_key", json!("\u{1f600}\\"))).unwrap();
    assert_eq!(pdu.state_key(), Some("\u{1f600}\\"));
}

#[test]
fn canonical_json_agrees_with_the_examples_of_the_specification() {
    for (input, expected) in [
        ("{}", "{}"),
        (r#"{ "one": 1, "two": "Two" }"#, r#"{"one":1,"two":"Two"}"#),
        (r#"{"b":"2","a":"1"}"#, r#"{"a":"1","b":"2"}"#),
        (r#"{"a":"日本語"}"#, r#"{"a":"日本語"}"#),
        (r#"{"本":2,"日":1}"#, r#"{"日":1,"本":2}"#),
        (r#"{"a":"\u65E5"}"#, r#"{"a":"日"}"#),
        (r#"{"a":null}"#, r#"{"a":null}"#),
        ("{\"a\":\"\\u000c\\u001f\\/\"}", "{\"a\":\"\\f\\u001f/\"}"),
    ] {
        assert_eq!(text(canonical_object(input).unwrap()).unwrap(), expected);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_json_is_a_fixed_point(value in any_json()) {
        let object = json!({"content": value}).to_string();
        let once = text(canonical_object(&object).unwrap()).unwrap();
        let twice = text(canonical_object(&once).unwrap()).unwrap();
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(
            serde_json::from_str::<Value>(&once).unwrap(),
            serde_json::from_str::<Value>(&object).unwrap()
        );
    }

    #[test]
    fn any_content_survives(value in any_json()) {
        let pdu = parse(&with("content", json!({"value": value.clone()}))).unwrap();
        prop_assert_eq!(pdu.content_as::<Value>().unwrap(), json!({"value": value}));
        let again = parse(pdu.json()).unwrap();
        prop_assert_eq!(again.json(), pdu.json());
        prop_assert_eq!(again.event_id(), pdu.event_id());
    }

    #[test]
    fn the_parser_fails_with_its_own_errors_only(text in any::<String>(), value in any_json()) {
        let _ = parse(&text);
        let _ = parse(&value.to_string());
        for field in ["sender", "type", "room_id", "content", "redacts", "state_key", "depth"] {
            let _ = parse(&with(field, value.clone()));
        }
    }
}
