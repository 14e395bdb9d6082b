//! This server's own keys, as it publishes them.

use std::{collections::BTreeMap, time::Duration};

use event::{Signer, VerifyKey};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, UInt,
    signatures::Ed25519KeyPair,
};

use crate::{Error, Result};

/// The key that this server signs with, and those that it used to sign with.
#[derive(Clone, Debug)]
pub struct OwnKeys {
    signer: Signer,
    old: Vec<OldKey>,
    /// How long other servers may keep the response.
    validity: Duration,
}

#[derive(Clone, Debug)]
struct OldKey {
    key_id: String,
    public_key: String,
    expired_ts: u64,
}

impl OwnKeys {
    /// Keys of which the current one is valid for `validity` whenever it is published.
    pub fn new(signer: Signer, validity: Duration) -> Self {
        Self {
            signer,
            old: Vec::new(),
            validity,
        }
    }

    /// Adds a key that is not used any more since `expired_ts`.
    pub fn add_old(&mut self, key: &Signer, expired_ts: u64) {
        self.old.push(OldKey {
            key_id: key.key_id().to_string(),
            public_key: key.public_key_base64(),
            expired_ts,
        });
    }

    /// What signs as this server.
    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The key pair to sign requests with.
    pub(crate) fn key_pair(&self) -> &Ed25519KeyPair {
        self.signer.key_pair()
    }

    /// The keys with which events of this server are verified.
    pub(super) fn verify_keys(&self) -> BTreeMap<String, VerifyKey> {
        let current = (
            self.signer.key_id().to_string(),
            self.signer.public_key_base64(),
            UInt::MAX,
        );
        let old = self.old.iter().map(|old| {
            let until = UInt::new_saturating(old.expired_ts);
            (old.key_id.clone(), old.public_key.clone(), until)
        });
        let keys = std::iter::once(current).chain(old);
        keys.filter_map(|(key_id, public_key, until)| {
            let until = MilliSecondsSinceUnixEpoch(until);
            Some((key_id, VerifyKey::expired(&public_key, until).ok()?))
        })
        .collect()
    }

    /// The response to a request for this server's keys, signed.
    pub fn response(&self, now_ms: u64) -> Result<String> {
        let valid_until = now_ms.saturating_add(self.validity.as_millis() as u64);
        let key = |public_key: String| ("key".to_owned(), public_key.into());
        let current = CanonicalJsonObject::from([key(self.signer.public_key_base64())]);
        let current =
            CanonicalJsonObject::from([(self.signer.key_id().to_string(), current.into())]);
        let old = self.old.iter().map(|old| {
            let expired_ts = (
                "expired_ts".to_owned(),
                UInt::new_saturating(old.expired_ts).into(),
            );
            let value = CanonicalJsonObject::from([key(old.public_key.clone()), expired_ts]);
            (old.key_id.clone(), CanonicalJsonValue::Object(value))
        });
        let mut response = CanonicalJsonObject::from([
            (
                "server_name".to_owned(),
                self.signer.server_name().as_str().into(),
            ),
            ("verify_keys".to_owned(), current.into()),
            (
                "old_verify_keys".to_owned(),
                CanonicalJsonValue::Object(old.collect()),
            ),
            (
                "valid_until_ts".to_owned(),
                UInt::new_saturating(valid_until).into(),
            ),
        ]);
        let failed = |error: &dyn std::fmt::Display| Error::OwnKeys(error.to_string());
        self.signer
            .sign_json(&mut response)
            .map_err(|error| failed(&error))?;
        serde_json::to_string(&response).map_err(|error| failed(&error))
    }
}
