//! Hashes and signatures of events of other servers.
//!
//! Spec: server-server, "Validating hashes and signatures on received events"; rooms v5, "Signing
//! key validity period". Called when events of other servers are received.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedServerName, ServerName,
    ServerSigningKeyId, SigningKeyAlgorithm, UInt,
    events::room::policy::POLICY_SERVER_ED25519_SIGNING_KEY_ID,
    signatures::{required_server_signatures_to_verify_event, verify_canonical_json_bytes},
};

use crate::{Pdu, RoomVersion, SignatureError, event_json::EventJson, sign::decode};

/// How long a key counts as valid at most, whatever its server says: 7 days.
const MAX_VALIDITY_MS: u32 = 7 * 24 * 60 * 60 * 1000;

/// A server's public Ed25519 key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyKey {
    public_key: Vec<u8>,
    valid_until: MilliSecondsSinceUnixEpoch,
}

impl VerifyKey {
    /// A key that the server uses: valid until `valid_until_ts`, but not for more than 7 days from
    /// now.
    pub fn current(
        public_key_base64: &str,
        valid_until_ts: MilliSecondsSinceUnixEpoch,
        now: MilliSecondsSinceUnixEpoch,
    ) -> Result<Self, SignatureError> {
        let latest = now.0.saturating_add(UInt::from(MAX_VALIDITY_MS));
        Self::expired(
            public_key_base64,
            valid_until_ts.min(MilliSecondsSinceUnixEpoch(latest)),
        )
    }

    /// A key that the server used until `expired_ts`.
    pub fn expired(
        public_key_base64: &str,
        expired_ts: MilliSecondsSinceUnixEpoch,
    ) -> Result<Self, SignatureError> {
        Ok(Self {
            public_key: decode(public_key_base64)?,
            valid_until: expired_ts,
        })
    }

    /// Whether an event of this room version and time may be signed with it. Before version 5 a
    /// key is valid for ever.
    fn is_valid(&self, version: &RoomVersion, event: &Pdu) -> bool {
        !version.rules().enforce_key_validity || self.valid_until >= event.origin_server_ts()
    }
}

/// The known keys of servers, by the whole id of the key, such as `ed25519:abc`.
pub type ServerKeys = BTreeMap<OwnedServerName, BTreeMap<String, VerifyKey>>;

/// Whether an event is as its server made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentHash {
    /// Every byte is.
    Matches,
    /// Only what a redaction keeps is: the redacted form must be used.
    Differs,
}

/// The servers that must have signed an event, with the ids of the keys that they used.
///
/// That is the sender's server, except for invites by way of a third party; the server of the
/// event id in room versions 1 and 2; the server of the user who authorised a join to a restricted
/// room. A server that has not signed has no key ids.
pub fn required_signatures(
    event: &Pdu,
    version: &RoomVersion,
) -> Result<BTreeMap<OwnedServerName, Vec<String>>, SignatureError> {
    let tree = tree(event)?;
    let servers = required_servers(&tree, version)?.into_iter();
    Ok(servers
        .map(|server| {
            let key_ids = signatures(&tree, &server).map(|(key_id, _)| key_id.to_owned());
            let key_ids = key_ids.collect();
            (server, key_ids)
        })
        .collect())
}

/// Checks the signatures of all servers that must have signed an event, and its content hash.
///
/// Signatures with keys that are unknown, or were no longer valid at the event's time, are skipped.
/// Each server must have one that is not, and of those all must hold.
pub fn verify_event(
    event: &Pdu,
    version: &RoomVersion,
    keys: &ServerKeys,
) -> Result<ContentHash, SignatureError> {
    let tree = tree(event)?;
    let signed = tree.signed_text(version).map_err(unreadable)?;
    for server in required_servers(&tree, version)? {
        verify_server(&tree, &signed, event, version, (&server, keys.get(&server)))?;
    }
    let hash = tree.content_hash().map_err(unreadable)?;
    let named = tree.object().get("hashes").and_then(|hashes| {
        let named = hashes.as_object()?.get("sha256")?.as_str()?;
        decode(named).ok()
    });
    if named.is_some() && named == decode(&hash).ok() {
        Ok(ContentHash::Matches)
    } else {
        Ok(ContentHash::Differs)
    }
}

fn verify_server(
    tree: &EventJson,
    signed: &str,
    event: &Pdu,
    version: &RoomVersion,
    (server, keys): (&ServerName, Option<&BTreeMap<String, VerifyKey>>),
) -> Result<(), SignatureError> {
    let mut is_verified = false;
    for (key_id, signature) in signatures(tree, server) {
        let key = keys.and_then(|keys| keys.get(key_id));
        let Some(key) = key.filter(|key| key.is_valid(version, event)) else {
            continue;
        };
        let signature = signature.as_str().ok_or_else(|| {
            SignatureError::Unreadable(format!("the signature with {key_id} is not a string"))
        })?;
        verify_canonical_json_bytes(
            &SigningKeyAlgorithm::Ed25519,
            &key.public_key,
            &decode(signature)?,
            signed.as_bytes(),
        )
        .map_err(SignatureError::Mismatch)?;
        is_verified = true;
    }
    if is_verified {
        Ok(())
    } else {
        Err(SignatureError::Missing {
            entity: server.to_string(),
            key_id: "that is known and valid".to_owned(),
        })
    }
}

/// The Ed25519 signatures of a server on an event, by the id of the key; that of a policy server's key,
/// which is not published, is not among them.
fn signatures<'a>(
    tree: &'a EventJson,
    server: &ServerName,
) -> impl Iterator<Item = (&'a str, &'a CanonicalJsonValue)> + use<'a> {
    let is_ed25519 = |key_id: &str| {
        <&ServerSigningKeyId>::try_from(key_id)
            .is_ok_and(|id| id.algorithm() == SigningKeyAlgorithm::Ed25519)
    };
    let signatures = tree.object().get("signatures");
    let signatures = signatures.and_then(|signatures| signatures.as_object());
    let of_server = signatures.and_then(|signatures| signatures.get(server.as_str())?.as_object());
    let of_server = of_server.into_iter().flatten();
    of_server
        .map(|(key_id, signature)| (key_id.as_str(), signature))
        .filter(move |(key_id, _)| {
            is_ed25519(key_id) && *key_id != POLICY_SERVER_ED25519_SIGNING_KEY_ID
        })
}

fn required_servers(
    tree: &EventJson,
    version: &RoomVersion,
) -> Result<BTreeSet<OwnedServerName>, SignatureError> {
    required_server_signatures_to_verify_event(tree.object(), &version.rules().signatures)
        .map_err(unreadable)
}

fn tree(event: &Pdu) -> Result<EventJson, SignatureError> {
    event.tree().map_err(unreadable)
}

fn unreadable(error: impl ToString) -> SignatureError {
    SignatureError::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests;
