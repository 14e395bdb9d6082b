//! Checks the key response of a server.

use std::time::Duration;

use ruma::{
    ServerName, ServerSigningKeyId, SigningKeyAlgorithm,
    api::federation::discovery::ServerSigningKeys, serde::Base64,
};
use storage::server_keys::ServerKey;

/// How long a response is believed at most. Spec: server-server, "Publishing Keys".
const MAX_VALIDITY: Duration = Duration::from_hours(7 * 24);
/// The most keys of one server, current and old ones each.
const MAX_KEYS: usize = 128;
/// The length of an Ed25519 public key.
const KEY_LENGTH: usize = 32;

/// A response that the server has signed itself.
#[derive(Debug)]
pub(super) struct Checked {
    /// Its JSON text.
    pub(super) text: String,
    /// The keys in it.
    pub(super) keys: Vec<ServerKey>,
    /// Until when the current ones are valid, in milliseconds since the Unix epoch.
    pub(super) valid_until_ts: u64,
}

/// Reads a key response of `server` that arrives at `now_ms`; the error says what is wrong with it.
pub(super) fn read(server: &ServerName, body: &[u8], now_ms: u64) -> Result<Checked, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8")?;
    let object = event::canonical_object(text).map_err(|error| error.to_string())?;
    let response: ServerSigningKeys =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    if response.server_name != server {
        return Err(format!("it is of the server {}", response.server_name));
    }
    if response.verify_keys.len() > MAX_KEYS || response.old_verify_keys.len() > MAX_KEYS {
        return Err("it has too many keys".to_owned());
    }
    let signed = response.verify_keys.iter().any(|(key_id, key)| {
        let public_key = key.key.encode();
        event::verify_json(&object, server.as_str(), key_id.as_str(), &public_key).is_ok()
    });
    if !signed {
        return Err("none of its keys has signed it".to_owned());
    }
    let capped = |stated: u64| stated.min(now_ms.saturating_add(MAX_VALIDITY.as_millis() as u64));
    let valid_until_ts = capped(response.valid_until_ts.0.into());
    let current = response
        .verify_keys
        .iter()
        .filter_map(|(key_id, key)| server_key(key_id, &key.key, valid_until_ts, false));
    let old = response.old_verify_keys.iter().filter_map(|(key_id, key)| {
        server_key(key_id, &key.key, capped(key.expired_ts.0.into()), true)
    });
    // One that is named as current and old would be written twice.
    let old = old.filter(|key| {
        !response
            .verify_keys
            .keys()
            .any(|current| current.as_str() == key.key_id)
    });
    Ok(Checked {
        keys: current.chain(old).collect(),
        text: text.to_owned(),
        valid_until_ts,
    })
}

/// The key, unless its algorithm is not known.
fn server_key(
    key_id: &ServerSigningKeyId,
    public_key: &Base64,
    valid_until_ts: u64,
    is_old: bool,
) -> Option<ServerKey> {
    let usable = key_id.algorithm() == SigningKeyAlgorithm::Ed25519
        && public_key.as_bytes().len() == KEY_LENGTH;
    usable.then(|| ServerKey {
        key_id: key_id.to_string(),
        public_key: public_key.encode(),
        valid_until_ts,
        is_old,
    })
}

#[cfg(test)]
mod tests;
