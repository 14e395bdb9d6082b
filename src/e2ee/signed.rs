//! Signed JSON objects: device keys, one-time keys and cross-signing keys.

use std::collections::BTreeMap;

use ruma::{CanonicalJsonObject, CanonicalJsonValue, UserId};

use crate::Error;

/// Public Ed25519 keys by key id, such as `ed25519:DEVICE`.
pub(crate) type PublicKeys = BTreeMap<String, String>;

/// A signed object without `unsigned`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Signed(CanonicalJsonObject);

impl Signed {
    pub(crate) fn parse(json: &str) -> Result<Self, Error> {
        let mut object: CanonicalJsonObject =
            serde_json::from_str(json).map_err(|error| Error::Malformed(error.to_string()))?;
        // Added by servers, not by the device.
        object.remove("unsigned");
        Ok(Self(object))
    }

    /// The canonical JSON text.
    pub(crate) fn to_json(&self) -> String {
        CanonicalJsonValue::Object(self.0.clone()).to_string()
    }

    /// Whether both are equal apart from signatures.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        let content = |object: &Self| {
            object
                .0
                .iter()
                .filter(|(key, _)| *key != "signatures")
                .count()
        };
        content(self) == content(other)
            && self
                .0
                .iter()
                .filter(|(key, _)| *key != "signatures")
                .all(|(key, value)| other.0.get(key) == Some(value))
    }

    /// The signatures of a user by key id.
    pub(crate) fn signatures_by(&self, user_id: &UserId) -> BTreeMap<String, String> {
        let signatures = self
            .0
            .get("signatures")
            .and_then(CanonicalJsonValue::as_object);
        let by_user = signatures
            .and_then(|signatures| signatures.get(user_id.as_str()))
            .and_then(CanonicalJsonValue::as_object);
        by_user
            .into_iter()
            .flatten()
            .filter_map(|(key_id, value)| Some((key_id.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// Adds a signature, replacing an earlier one by the same key.
    pub(crate) fn add_signature(&mut self, user_id: &UserId, key_id: &str, signature: &str) {
        let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
        let signatures = self.0.entry("signatures".to_owned()).or_insert_with(empty);
        let CanonicalJsonValue::Object(signatures) = signatures else {
            return;
        };
        let by_user = signatures.entry(user_id.to_string()).or_insert_with(empty);
        if let CanonicalJsonValue::Object(by_user) = by_user {
            by_user.insert(
                key_id.to_owned(),
                CanonicalJsonValue::String(signature.to_owned()),
            );
        }
    }

    /// Verifies the signature by one key.
    pub(crate) fn verify(
        &self,
        user_id: &UserId,
        key_id: &str,
        public_key: &str,
    ) -> Result<(), Error> {
        event::verify_json(&self.0, user_id.as_str(), key_id, public_key)
            .map_err(|error| Error::InvalidSignature(error.to_string()))
    }

    /// Verifies the user's signatures by the given keys and removes all others.
    pub(crate) fn retain_verified(
        &mut self,
        user_id: &UserId,
        keys: &PublicKeys,
    ) -> Result<(), Error> {
        let mut kept = BTreeMap::new();
        for (key_id, signature) in self.signatures_by(user_id) {
            if let Some(public_key) = keys.get(&key_id) {
                self.verify(user_id, &key_id, public_key)?;
                kept.insert(key_id, signature);
            }
        }
        let nothing = CanonicalJsonValue::Object(CanonicalJsonObject::new());
        self.0.insert("signatures".to_owned(), nothing);
        for (key_id, signature) in kept {
            self.add_signature(user_id, &key_id, &signature);
        }
        Ok(())
    }
}
