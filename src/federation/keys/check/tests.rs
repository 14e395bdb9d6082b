use event::Signer;
use ruma::{CanonicalJsonObject, server_name};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn signer() -> Signer {
    Signer::generate(server_name!("a.test")).unwrap().0
}

/// A response of `a.test` with one key, changed, and signed with that key.
fn response(signer: &Signer, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut response = json!({
        "server_name": "a.test",
        "verify_keys": { signer.key_id().to_string(): { "key": signer.public_key_base64() } },
        "valid_until_ts": NOW + HOUR,
    });
    change(&mut response);
    let mut object: CanonicalJsonObject = serde_json::from_value(response).unwrap();
    signer.sign_json(&mut object).unwrap();
    serde_json::to_vec(&object).unwrap()
}

fn check(body: &[u8]) -> Result<Checked, String> {
    read(server_name!("a.test"), body, NOW)
}

#[test]
fn current_and_old_keys_are_read() {
    let (signer, old) = (signer(), signer());
    let body = response(&signer, |response| {
        response["old_verify_keys"] = json!({
            old.key_id().to_string(): { "key": old.public_key_base64(), "expired_ts": NOW - DAY },
            "curve25519:abc": { "key": old.public_key_base64(), "expired_ts": NOW - DAY },
        });
    });
    let key = |signer: &Signer, valid_until_ts, is_old| ServerKey {
        key_id: signer.key_id().to_string(),
        public_key: signer.public_key_base64(),
        valid_until_ts,
        is_old,
    };
    let checked = check(&body).unwrap();
    assert_eq!(
        checked.keys,
        [key(&signer, NOW + HOUR, false), key(&old, NOW - DAY, true)]
    );
}

#[test]
fn no_key_is_believed_for_more_than_seven_days() {
    let body = response(&signer(), |response| {
        response["valid_until_ts"] = (NOW + 365 * DAY).into();
    });
    let checked = check(&body).unwrap();
    assert_eq!(checked.valid_until_ts, NOW + 7 * DAY);
    assert_eq!(checked.keys[0].valid_until_ts, NOW + 7 * DAY);
}

#[test]
fn responses_of_others_are_refused() {
    let body = response(&signer(), |response| {
        response["server_name"] = "b.test".into();
    });
    assert_eq!(check(&body).unwrap_err(), "it is of the server b.test");
}

#[test]
fn the_response_must_be_signed_with_one_of_its_keys() {
    let unsigned = "none of its keys has signed it";
    let other = response(&signer(), |response| {
        let listed = signer();
        response["verify_keys"] =
            json!({ listed.key_id().to_string(): { "key": listed.public_key_base64() } });
    });
    assert_eq!(check(&other).unwrap_err(), unsigned);

    let mut changed: Value = serde_json::from_slice(&response(&signer(), |_| ())).unwrap();
    changed["valid_until_ts"] = (NOW + 2 * HOUR).into();
    assert_eq!(check(changed.to_string().as_bytes()).unwrap_err(), unsigned);

    let none = response(&signer(), |response| response["verify_keys"] = json!({}));
    assert_eq!(check(&none).unwrap_err(), unsigned);
}

#[test]
fn garbage_is_refused() {
    for body in [
        "",
        "[]",
        "{}",
        "null",
        r#"{"server_name": "a.test"}"#,
        "{\"a\": 1.5}",
    ] {
        assert!(check(body.as_bytes()).is_err(), "{body}");
    }
    assert!(check(b"\xff").is_err());
    let nested = "[".repeat(100_000);
    assert!(check(nested.as_bytes()).is_err());
}

#[test]
fn too_many_keys_are_refused() {
    let signer = signer();
    let body = response(&signer, |response| {
        for number in 0..MAX_KEYS {
            response["verify_keys"][format!("ed25519:k{number}")] =
                json!({ "key": signer.public_key_base64() });
        }
    });
    assert_eq!(check(&body).unwrap_err(), "it has too many keys");
}
