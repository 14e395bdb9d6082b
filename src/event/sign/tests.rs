use curve25519_dalek::Scalar;
use ruma::{server_name, signatures::hash_and_sign_event};
use serde_json::{Value, json};

use super::*;
use crate::{
    canonical_object,
    fixture::{ALICE, signer, version},
};

fn object(value: &Value) -> CanonicalJsonObject {
    canonical_object(&value.to_string()).unwrap()
}

fn domain_signature(object: &CanonicalJsonObject) -> String {
    let value: Value = serde_json::from_str(&serde_json::to_string(object).unwrap()).unwrap();
    value["signatures"]["domain"]["ed25519:1"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn json_is_signed_as_the_specification_shows() {
    for (value, signature) in [
        (
            json!({}),
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ",
        ),
        (
            json!({"one": 1, "two": "Two"}),
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ] {
        let signer = signer("domain");
        let mut object = object(&value);
        signer.sign_json(&mut object).unwrap();
        assert_eq!(domain_signature(&object), signature);
        verify_json(&object, "domain", "ed25519:1", &signer.public_key_base64()).unwrap();
    }
}

#[test]
fn events_are_hashed_and_signed_as_the_specification_shows() {
    let minimal = json!({
        "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain",
        "origin_server_ts": 1_000_000, "signatures": {}, "hashes": {}, "type": "X", "content": {},
        "prev_events": [], "auth_events": [], "depth": 3, "unsigned": {"age_ts": 1_000_000},
    });
    let message = json!({
        "content": {"body": "Here is the message content"}, "event_id": "$0:domain",
        "origin": "domain", "origin_server_ts": 1_000_000, "type": "m.room.message",
        "room_id": "!r:domain", "sender": "@u:domain", "signatures": {},
        "unsigned": {"age_ts": 1_000_000},
    });
    for (event, hash, signature) in [
        (
            minimal,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            message,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ] {
        let mut event = object(&event);
        let rules = version("3").redaction().clone();
        hash_and_sign_event("domain", signer("domain").key_pair(), &mut event, &rules).unwrap();
        assert_eq!(
            event["hashes"].as_object().unwrap()["sha256"].as_str(),
            Some(hash)
        );
        assert_eq!(domain_signature(&event), signature);
    }
}

#[test]
fn a_generated_key_can_be_loaded_again() {
    let name = server_name!("example.org");
    let (made, document) = Signer::generate(name).unwrap();
    let loaded = Signer::from_der(name, made.key_version(), &document).unwrap();
    assert_eq!(made.public_key_base64(), loaded.public_key_base64());
    assert_eq!(made.key_id(), loaded.key_id());
    assert_eq!(
        made.key_id().as_str(),
        format!("ed25519:{}", made.key_version())
    );
    assert_eq!(made.key_version().len(), 8);
    assert!(Signer::from_der(name, "bad version", &document).is_err());
    assert!(Signer::from_der(name, "1", b"not a key").is_err());
}

#[test]
fn two_generated_keys_differ() {
    let name = server_name!("example.org");
    let (one, two) = (
        Signer::generate(name).unwrap().0,
        Signer::generate(name).unwrap().0,
    );
    assert_ne!(one.public_key_base64(), two.public_key_base64());
    assert_ne!(one.key_id(), two.key_id());
}

#[test]
fn a_forged_or_missing_signature_is_refused() {
    let signer = signer("domain");
    let key = signer.public_key_base64();
    let mut signed = object(&json!({"user_id": ALICE, "unsigned": {"a": 1}}));
    signer.sign_json(&mut signed).unwrap();
    let verify = |object: &CanonicalJsonObject, entity, id, key: &str| {
        verify_json(object, entity, id, key).unwrap_err()
    };

    let mut changed = signed.clone();
    changed.insert("user_id".into(), "@mallory:domain".into());
    assert!(matches!(
        verify(&changed, "domain", "ed25519:1", &key),
        SignatureError::Mismatch(_)
    ));
    let (other, _) = Signer::generate(server_name!("domain")).unwrap();
    let wrong = other.public_key_base64();
    assert!(matches!(
        verify(&signed, "domain", "ed25519:1", &wrong),
        SignatureError::Mismatch(_)
    ));
    for (entity, id) in [("domain", "ed25519:2"), ("elsewhere", "ed25519:1")] {
        assert!(matches!(
            verify(&signed, entity, id, &key),
            SignatureError::Missing { .. }
        ));
    }
    for bad in ["", "!", "AAAA"] {
        assert!(
            verify_json(&signed, "domain", "ed25519:1", bad).is_err(),
            "{bad}"
        );
    }
    for signatures in [
        json!(null),
        json!({"domain": 1}),
        json!({"domain": {"ed25519:1": 1}}),
    ] {
        let object = object(&json!({"signatures": signatures}));
        assert!(matches!(
            verify(&object, "domain", "ed25519:1", &key),
            SignatureError::Missing { .. }
        ));
    }
}

#[test]
fn signatures_of_one_key_are_checked_together_as_each_alone() {
    let signer = signer("domain");
    let key = signer.public_key_base64();
    let signed = |number: usize| {
        let mut object = object(&json!({ "number": number }));
        signer.sign_json(&mut object).unwrap();
        object
    };
    for count in [0, 1, 3, 4, 50] {
        let objects: Vec<_> = (0..count).map(signed).collect();
        let check = |objects: &[CanonicalJsonObject]| {
            let objects: Vec<_> = objects.iter().collect();
            verify_json_batch(&objects, "domain", "ed25519:1", &key)
        };
        check(&objects).unwrap();
        for at in 0..count {
            let mut forged = objects.clone();
            forged[at].insert("number".to_owned(), CanonicalJsonValue::Bool(true));
            let error = check(&forged).unwrap_err();
            assert!(matches!(error, SignatureError::Mismatch(_)), "{error:?}");
            forged[at].remove("signatures");
            let error = check(&forged).unwrap_err();
            assert!(matches!(error, SignatureError::Missing { .. }), "{error:?}");
        }
    }
}

#[test]
fn forgeries_that_cancel_each_other_out_are_found() {
    let signer = signer("domain");
    let mut objects: Vec<_> = (0..8)
        .map(|number| object(&json!({ "number": number })))
        .collect();
    for object in &mut objects {
        signer.sign_json(object).unwrap();
    }
    for (at, difference) in [(2, Scalar::ONE), (5, -Scalar::ONE)] {
        let mut signature = decode(&domain_signature(&objects[at])).unwrap();
        let number = Scalar::from_canonical_bytes(signature[32..].try_into().unwrap()).unwrap();
        signature[32..].copy_from_slice((number + difference).as_bytes());
        let signature = STANDARD_NO_PAD.encode(signature);
        let signatures = json!({ "domain": { "ed25519:1": signature } });
        objects[at].insert("signatures".to_owned(), signatures.try_into().unwrap());
    }
    let objects: Vec<_> = objects.iter().collect();
    let checked = verify_json_batch(&objects, "domain", "ed25519:1", &signer.public_key_base64());
    assert!(matches!(checked, Err(SignatureError::Mismatch(_))));
}

#[test]
fn unsigned_may_change_without_breaking_the_signature() {
    let signer = signer("domain");
    let mut signed = object(&json!({"a": 1}));
    signer.sign_json(&mut signed).unwrap();
    signed.insert("unsigned".into(), 5_u32.to_string().into());
    let of_another = CanonicalJsonObject::from([("k".to_owned(), "junk".to_owned().into())]);
    let Some(CanonicalJsonValue::Object(signatures)) = signed.get_mut("signatures") else {
        unreachable!("it was just signed")
    };
    signatures.insert("other".into(), CanonicalJsonValue::Object(of_another));
    verify_json(&signed, "domain", "ed25519:1", &signer.public_key_base64()).unwrap();
}

#[test]
fn the_private_key_is_not_printed() {
    let printed = format!("{:?}", signer("example.org"));
    assert_eq!(
        printed,
        r#"Signer { server_name: "example.org", key_id: "ed25519:1", .. }"#
    );
}
