//! Events of room versions 1 and 2, and numbers without a canonical form before version 6.

use super::*;

/// An event of room version 1, with a field changed.
fn old_with(field: &str, value: Value) -> String {
    let mut event = plain();
    event["event_id"] = json!("$opaque:example.org");
    event["prev_events"] = json!([["$a:b", {"sha256": "aa"}], ["$c:d", {}]]);
    event["auth_events"] = json!([["$b:b", {"sha256": "bb"}]]);
    event[field] = value;
    event.to_string()
}

#[test]
fn old_events_carry_their_id_and_name_others_with_hashes() {
    for number in ["1", "2"] {
        let pdu = Pdu::parse(&old_with("depth", json!(3)), &version(number)).unwrap();
        assert_eq!(pdu.event_id(), "$opaque:example.org");
        assert_eq!(
            pdu.prev_events(),
            ["$a:b", "$c:d"].map(|id| EventId::parse(id).unwrap())
        );
        assert_eq!(pdu.auth_events(), [EventId::parse("$b:b").unwrap()]);
        assert!(pdu.json().contains(r#""event_id":"$opaque:example.org""#));
        assert!(
            pdu.json()
                .contains(r#"[["$a:b",{"sha256":"aa"}],["$c:d",{}]]"#)
        );
    }
}

#[test]
fn malformed_old_events_are_refused() {
    for (field, value) in [
        ("event_id", json!("$opaque")),
        ("event_id", json!("opaque:example.org")),
        ("event_id", json!(7)),
        ("event_id", Value::Null),
        ("event_id", json!(format!("${}:b", "o".repeat(253)))),
        ("prev_events", json!(["$a:b"])),
        ("prev_events", json!([["$a:b"]])),
        ("prev_events", json!([["$a:b", "hash"]])),
        ("prev_events", json!([["$a:b", {}, {}]])),
        ("auth_events", json!([[{}, "$a:b"]])),
        ("auth_events", json!([["not an id", {}]])),
    ] {
        let json = old_with(field, value);
        assert!(Pdu::parse(&json, &version("1")).is_err(), "{json}");
    }
    assert!(Pdu::parse(&old_with("depth", json!(1)), &version("3")).is_err());
    assert!(Pdu::parse(&plain().to_string(), &version("2")).is_err());
}

#[test]
fn built_old_events_name_others_by_their_reference_hash() {
    for number in ["1", "2"] {
        let mut room = Room::new(number);
        let hashes = room.reference_hashes();
        let pdu = room.message(ALICE).unwrap();
        let id = pdu.event_id().as_str();
        assert!(id.starts_with('$') && id.ends_with(":example.org"));
        let json: Value = serde_json::from_str(pdu.json()).unwrap();
        assert_eq!(json["event_id"], id);
        let references = json["prev_events"].as_array().unwrap().iter();
        for reference in references.chain(json["auth_events"].as_array().unwrap()) {
            let id = EventId::parse(reference[0].as_str().unwrap()).unwrap();
            assert_eq!(reference[1], json!({"sha256": hashes[&id]}));
        }
        let again = room.message(ALICE).unwrap();
        assert_ne!(again.event_id(), pdu.event_id());
        let redacted = crate::redact(&room.version, &pdu).unwrap();
        assert_eq!(redacted.event_id(), pdu.event_id());
        assert_eq!(
            redacted.reference_hash(&room.version).unwrap(),
            pdu.reference_hash(&room.version).unwrap()
        );
    }
}

#[test]
fn numbers_without_a_canonical_form_survive_before_version_6() {
    let content = r#"{"a":1.50,"b":[1e3,-0],"c":123456789012345678901234567890}"#;
    let json = with("content", json!("here")).replace("\"here\"", content);
    for number in ["3", "4", "5"] {
        let pdu = Pdu::parse(&json, &version(number)).unwrap();
        assert_eq!(pdu.content_text(), content);
        let id = pdu.event_id().to_owned();
        let stored = Pdu::from_stored(id, pdu.room_id().clone(), pdu.json().into()).unwrap();
        assert_eq!(stored.content_text(), content);
        // The push conditions read it as well.
        let flat = crate::push::flatten(&stored);
        assert!(flat.get_str("type").is_some());
        let redacted = crate::redact(&version(number), &stored).unwrap();
        assert_eq!(redacted.content_text(), "{}");
        let reference = |pdu: &Pdu| pdu.reference_hash(&version(number)).unwrap();
        assert_eq!(reference(&pdu), reference(&redacted));
    }
    assert!(Pdu::parse(&json, &version("6")).is_err());
}

#[test]
fn depth_goes_to_the_end_of_64_bits_before_version_6() {
    let depth = |number: &str, depth: &str| {
        let json = with("depth", json!("here")).replace("\"here\"", depth);
        Pdu::parse(&json, &version(number)).map(|pdu| pdu.depth())
    };
    assert_eq!(depth("5", "9223372036854775807").unwrap(), i64::MAX as u64);
    assert_eq!(depth("5", "99999999999999999999").unwrap(), i64::MAX as u64);
    assert!(depth("5", "1.0").is_err() && depth("5", "-9007199254740993").is_err());
    assert!(depth("6", "9007199254740992").is_err());
    assert_eq!(depth("6", "9007199254740991").unwrap(), (1 << 53) - 1);
    let late = with("origin_server_ts", json!(u64::MAX));
    let late = Pdu::parse(&late, &version("5")).unwrap();
    assert_eq!(late.origin_server_ts().0, ruma::UInt::MAX);
}

/// Spec: rooms v1, "`m.room.power_levels` events accept values as floats": they are truncated.
#[test]
fn power_levels_may_be_floats_in_old_versions() {
    let levels = |content: &str| {
        let json = with("content", json!("here"))
            .replace("\"here\"", content)
            .replace("m.room.message", "m.room.power_levels");
        let pdu = Pdu::parse(&json, &version("5")).unwrap();
        assert_eq!(pdu.content_text(), content);
        crate::PowerLevels::from_events(None, Some(&pdu), &version("5"))
    };
    let content =
        r#"{"ban":50.9,"kick":-0.5,"redact":1e300,"users":{"@bob:example.org":5.114698E4}}"#;
    let read = levels(content);
    assert_eq!(
        (read.ban(), read.kick(), read.redact()),
        (50, 0, (1 << 53) - 1)
    );
    assert_eq!(read.user(crate::fixture::user("@bob:example.org")), 51_146);
}

#[test]
fn the_rules_take_power_levels_that_are_floats() {
    let mut room = Room::new("5");
    let before = room.state.get("m.room.power_levels", "").unwrap().clone();
    let json = before.json().replace(":100}", ":100.7}");
    assert_ne!(json, before.json());
    let floats = Pdu::parse(&json, &room.version).unwrap();
    room.state.insert(floats.into());
    assert!(room.set(ALICE, "m.room.topic", "", json!({})).is_ok());
    // No parser of ours or of clients gets to see what a double cannot hold.
    let infinite = json.replace("100.7", "1e999");
    assert!(Pdu::parse(&infinite, &room.version).is_err());
}
