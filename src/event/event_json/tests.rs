use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::version;

fn parsed(json: &str) -> EventJson {
    EventJson::parse_any(json).unwrap()
}

#[test]
fn numbers_without_a_canonical_form_keep_their_text() {
    for number in [
        "1.5",
        "-0",
        "-0.0",
        "1e3",
        "1E+3",
        "9007199254740992",
        "-9007199254740992",
        "123456789012345678901234567890",
        "0.1000",
    ] {
        let json = format!(r#"{{"b":[{number},"1.5",{{"c":{number}}}],"a": {number} ,"d":7}}"#);
        let canonical = format!(r#"{{"a":{number},"b":[{number},"1.5",{{"c":{number}}}],"d":7}}"#);
        assert_eq!(parsed(&json).text().unwrap(), canonical);
        assert!(EventJson::parse(&json, &version("6")).is_err());
        assert!(EventJson::parse(&json, &version("5")).is_ok());
    }
}

#[test]
fn strings_that_look_like_numbers_are_left_alone() {
    let json = r#"{"a":"\"1.5","b\\":"2.5\\","c":"-0 1e3","d":["\u00311.5"]}"#;
    assert!(parsed(json).marker.is_none());
    let marked = parsed(r#"{"a":1.5}"#).marker.unwrap();
    let json = format!(r#"{{"a":"{marked}1.5","b":2.5}}"#);
    assert_eq!(parsed(&json).text().unwrap(), json);
}

#[test]
fn what_is_no_number_is_no_json() {
    for number in [
        "1.", "01", "01.5", "-", "1e", ".5", "1.5.5", "--1.5", "+1", "1-1", "1.5\"x", "1e999",
        "-1e309",
    ] {
        let json = format!(r#"{{"a":{number}}}"#);
        assert!(EventJson::parse_any(&json).is_err(), "{number}");
    }
}

#[test]
fn only_natural_numbers_are_natural() {
    let tree = parsed(
        r#"{"a":1,"b":9223372036854775807,"c":-1,"d":1.0,"e":"1","f":1e3,"g":-9007199254740993}"#,
    );
    assert_eq!(tree.natural("a").as_deref(), Some("1"));
    assert_eq!(tree.natural("b").as_deref(), Some("9223372036854775807"));
    for field in ["c", "d", "e", "f", "g", "h"] {
        assert_eq!(tree.natural(field), None, "{field}");
    }
}

#[test]
fn hashes_cover_the_text_of_numbers() {
    let event = |number: &str| {
        let json = format!(r#"{{"type":"x","content":{{"n":{number}}},"depth":1.50}}"#);
        parsed(&json)
    };
    let (one, two) = (event("1.0"), event("1.00"));
    assert_ne!(one.content_hash().unwrap(), two.content_hash().unwrap());
    let signed = one.signed_text(&version("1")).unwrap();
    assert_eq!(signed, r#"{"content":{},"depth":1.50,"type":"x"}"#);
    assert_eq!(signed, two.signed_text(&version("1")).unwrap());
}

proptest! {
    /// What has only canonical numbers is parsed alike by both parsers, and written alike.
    #[test]
    fn canonical_events_need_no_marker(text in ".*", number in -(1_i64 << 53) + 1..1 << 53) {
        let json = json!({ "a": [text, number], text.clone(): number }).to_string();
        let tree = parsed(&json);
        prop_assert!(tree.marker.is_none());
        prop_assert_eq!(tree.object(), &format::canonical_object(&json).unwrap());
    }

    /// The text is a fixed point, and the same JSON.
    #[test]
    fn canonical_text_is_canonical(text in ".*", number in any::<f64>()) {
        let json = json!({ "b": [text, number], "a": number, text.clone(): text }).to_string();
        let canonical = parsed(&json).text().unwrap();
        prop_assert_eq!(&parsed(&canonical).text().unwrap(), &canonical);
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        prop_assert_eq!(value(&canonical), value(&json));
    }

    #[test]
    fn any_text_is_an_event_or_an_error(text in "[\\-0-9.eE\"\\\\{}:, ]*") {
        let _ = EventJson::parse_any(&text);
    }
}
