use serde_json::{Value, json};

use super::*;
use crate::{
    FormatError,
    fixture::{ALICE, Room, signer, time, version},
};

const DORA: &str = "@dora:elsewhere.org";

fn name(server: &str) -> OwnedServerName {
    server.try_into().unwrap()
}

/// The key of the test servers, valid until then.
fn keys_until(valid_until: u64) -> ServerKeys {
    let key = VerifyKey::expired(&signer("a").public_key_base64(), time(valid_until)).unwrap();
    ["example.org", "elsewhere.org"]
        .map(|server| (name(server), [("ed25519:1".to_owned(), key.clone())].into()))
        .into()
}

fn keys() -> ServerKeys {
    keys_until(1_000_000)
}

/// The event with its JSON changed.
fn changed(
    event: &Pdu,
    version: &RoomVersion,
    change: impl FnOnce(&mut Value),
) -> Result<Pdu, FormatError> {
    let mut json = serde_json::from_str(event.json()).unwrap();
    change(&mut json);
    Pdu::parse(&json.to_string(), version)
}

#[test]
fn built_events_verify_until_they_change() {
    for number in RoomVersion::supported() {
        let mut room = Room::new(number.as_str());
        let version = room.version.clone();
        let event = room.message(ALICE).unwrap();
        assert_eq!(
            verify_event(&event, &version, &keys()).unwrap(),
            ContentHash::Matches
        );
        let edited = changed(&event, &version, |json| {
            json["content"]["body"] = json!("x");
        });
        let edited = edited.unwrap();
        assert_eq!(edited.event_id(), event.event_id());
        assert_eq!(
            verify_event(&edited, &version, &keys()).unwrap(),
            ContentHash::Differs
        );
        let redacted = crate::redact(&version, &event).unwrap();
        assert_eq!(
            verify_event(&redacted, &version, &keys()).unwrap(),
            ContentHash::Differs
        );
        let moved = changed(&event, &version, |json| json["depth"] = json!(99)).unwrap();
        assert!(verify_event(&moved, &version, &keys()).is_err());
        assert!(verify_event(&event, &version, &BTreeMap::new()).is_err());
    }
}

#[test]
fn an_event_with_a_float_verifies_in_old_versions() {
    let version = version("5");
    let event = Room::new("5").message(ALICE).unwrap();
    let content =
        |json: &mut Value| json["content"] = json!({ "f": 1.5, "n": 9_007_199_254_740_993_u64 });
    let event = changed(&event, &version, content).unwrap();
    let mut tree = event.tree().unwrap();
    let hash = tree.content_hash().unwrap();
    tree.object_mut().insert(
        "hashes".to_owned(),
        CanonicalJsonValue::Object([("sha256".to_owned(), hash.into())].into()),
    );
    let signed = tree.signed_text(&version).unwrap();
    let mut object = crate::canonical_object(&signed).unwrap();
    signer("example.org").sign_json(&mut object).unwrap();
    let signatures = object.remove("signatures").unwrap();
    tree.object_mut()
        .insert("signatures".to_owned(), signatures);
    let event = Pdu::parse(&tree.text().unwrap(), &version).unwrap();
    assert!(event.json().contains(r#"{"f":1.5,"n":9007199254740993}"#));
    assert_eq!(
        verify_event(&event, &version, &keys()).unwrap(),
        ContentHash::Matches
    );
    assert!(Pdu::parse(event.json(), &crate::fixture::version("6")).is_err());
}

#[test]
fn keys_must_be_valid_at_the_time_of_the_event_since_version_5() {
    for (number, is_enforced) in [("1", false), ("4", false), ("5", true), ("12", true)] {
        let mut room = Room::new(number);
        let event = room.message(ALICE).unwrap();
        let sent: u64 = event.origin_server_ts().0.into();
        let verify = |until| verify_event(&event, &room.version, &keys_until(until));
        assert!(verify(sent).is_ok());
        assert_eq!(verify(sent - 1).is_err(), is_enforced, "version {number}");
    }
}

#[test]
fn a_key_is_valid_for_seven_days_at_most() {
    let key = signer("a").public_key_base64();
    let week = u64::from(MAX_VALIDITY_MS);
    for (said, counts) in [(5, 5), (week + 10, week + 10), (week + 11, week + 10)] {
        let current = VerifyKey::current(&key, time(said), time(10)).unwrap();
        assert_eq!(current, VerifyKey::expired(&key, time(counts)).unwrap());
    }
    assert!(VerifyKey::expired("not base64!", time(1)).is_err());
}

#[test]
fn every_known_signature_must_hold_and_unknown_ones_are_skipped() {
    let mut room = Room::new("11");
    let version = room.version.clone();
    let event = room.message(ALICE).unwrap();
    let signed = |key_id: &str, signature: Value| {
        changed(&event, &version, |json| {
            json["signatures"]["example.org"][key_id] = signature;
        })
        .unwrap()
    };
    let junk = json!("A".repeat(86));
    let mut keys = keys();
    assert!(verify_event(&signed("ed25519:2", junk.clone()), &version, &keys).is_ok());
    assert!(verify_event(&signed("ed25519:1", junk.clone()), &version, &keys).is_err());
    assert!(verify_event(&signed("ed25519:1", json!(7)), &version, &keys).is_err());
    assert!(verify_event(&signed("curve:1", json!(7)), &version, &keys).is_ok());
    let of_server = keys.get_mut(&name("example.org")).unwrap();
    let second = of_server["ed25519:1"].clone();
    of_server.insert("ed25519:2".to_owned(), second);
    assert!(verify_event(&signed("ed25519:2", junk), &version, &keys).is_err());
}

#[test]
fn required_signatures_depend_on_the_version() {
    let servers = |event: &Pdu, number: &str| -> Vec<(String, usize)> {
        let required = required_signatures(event, &version(number)).unwrap();
        let required = required.into_iter();
        required
            .map(|(server, keys)| (server.to_string(), keys.len()))
            .collect()
    };
    let of = |names: &[(&str, usize)]| -> Vec<(String, usize)> {
        names
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    };
    for (number, id_counts) in [("1", true), ("2", true), ("3", false), ("12", false)] {
        let mut room = Room::new(number);
        let event = room.join(DORA).unwrap();
        let moved = changed(&event, &room.version, |json| {
            json["event_id"] = json!("$x:example.org");
        });
        let expected = if id_counts {
            of(&[("elsewhere.org", 1), ("example.org", 0)])
        } else {
            of(&[("elsewhere.org", 1)])
        };
        assert_eq!(servers(&moved.unwrap(), number), expected);
    }
    for (number, counts) in [("7", false), ("8", true), ("11", true)] {
        let room = Room::new(number);
        let content = json!({"membership": "join", "join_authorised_via_users_server": ALICE});
        let join = room
            .build(DORA, "m.room.member", Some(DORA), content)
            .unwrap();
        let expected = if counts {
            of(&[("elsewhere.org", 1), ("example.org", 0)])
        } else {
            of(&[("elsewhere.org", 1)])
        };
        assert_eq!(servers(&join, number), expected);
    }
    let room = Room::new("11");
    let signed = json!({"mxid": DORA, "token": "t", "signatures": {}});
    let content = json!({"membership": "invite", "third_party_invite": {"signed": signed}});
    let invite = room
        .build(ALICE, "m.room.member", Some(DORA), content)
        .unwrap();
    assert!(servers(&invite, "11").is_empty());
}
