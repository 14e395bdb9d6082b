//! Signed JSON objects: device keys, one-time keys and cross-signing keys.

use std::collections::BTreeMap;

use ruma::{CanonicalJsonObject, CanonicalJsonValue, DeviceId, UserId};

use crate::Error;

/// The largest key with its signatures, in bytes.
const MAX_KEY_BYTES: usize = 65_536;

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
        check_signatures(&object)?;
        Ok(Self(object))
    }

    /// The canonical JSON text.
    pub(crate) fn to_json(&self) -> String {
        // Keys are sorted and numbers are integers: this is canonical.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// The Ed25519 key of a device, if these are its identity keys.
    pub(crate) fn device_key(&self, device_id: &DeviceId) -> Option<&str> {
        let keys = self.0.get("keys")?.as_object()?;
        keys.get(&*format!("ed25519:{device_id}"))?.as_str()
    }

    /// Whether it is the cross-signing key with this public key.
    pub(crate) fn is_key(&self, public_key: &str) -> bool {
        let keys = self.0.get("keys").and_then(CanonicalJsonValue::as_object);
        keys.is_some_and(|keys| keys.contains_key(&*format!("ed25519:{public_key}")))
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
        self.signatures()
            .filter(|(signer, _, _)| *signer == user_id.as_str())
            .map(|(_, key_id, signature)| (key_id.to_owned(), signature.to_owned()))
            .collect()
    }

    /// Whether all signatures are by this key of this user.
    pub(crate) fn is_signed_only_by(&self, user_id: &UserId, key_id: &str) -> bool {
        self.signatures()
            .all(|(signer, key, _)| signer == user_id.as_str() && key == key_id)
    }

    /// All signatures: user id, key id, signature.
    fn signatures(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let by_user = self
            .0
            .get("signatures")
            .and_then(CanonicalJsonValue::as_object);
        by_user.into_iter().flatten().flat_map(|(user_id, by_key)| {
            let by_key = by_key.as_object().into_iter().flatten();
            by_key.filter_map(|(key_id, value)| Some((&**user_id, &**key_id, value.as_str()?)))
        })
    }

    /// Adds a signature, replacing an earlier one by the same key.
    pub(crate) fn add_signature(&mut self, user_id: &UserId, key_id: &str, signature: &str) {
        self.insert_signature(user_id.as_str(), key_id, signature);
    }

    fn insert_signature(&mut self, user_id: &str, key_id: &str, signature: &str) {
        let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
        let signatures = self.0.entry("signatures".to_owned()).or_insert_with(empty);
        let CanonicalJsonValue::Object(signatures) = signatures else {
            return;
        };
        let by_user = signatures.entry(user_id.to_owned()).or_insert_with(empty);
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

    /// Verifies the signatures by one key of several objects.
    pub(crate) fn verify_all(
        objects: &[&Self],
        user_id: &UserId,
        key_id: &str,
        public_key: &str,
    ) -> Result<(), Error> {
        let objects: Vec<_> = objects.iter().map(|object| &object.0).collect();
        event::verify_json_batch(&objects, user_id.as_str(), key_id, public_key)
            .map_err(|error| Error::InvalidSignature(error.to_string()))
    }

    /// Whether a field is there and is a string.
    pub(crate) fn has_text(&self, field: &str) -> bool {
        matches!(self.0.get(field), Some(CanonicalJsonValue::String(_)))
    }

    /// Verifies the user's signatures by the given keys. Those by other keys cannot be verified and
    /// are left as they are.
    pub(crate) fn verify_known(&self, user_id: &UserId, keys: &PublicKeys) -> Result<(), Error> {
        for key_id in self.signatures_by(user_id).keys() {
            if let Some(public_key) = keys.get(key_id) {
                self.verify(user_id, key_id, public_key)?;
            }
        }
        Ok(())
    }

    /// Adds the signatures of `other`, replacing those by the same keys.
    pub(crate) fn merge_signatures(&mut self, other: &Self) {
        for (user_id, key_id, signature) in other.signatures() {
            self.insert_signature(user_id, key_id, signature);
        }
    }
}

/// Checks that a key with its signatures is not too large.
pub(crate) fn check_size(key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY_BYTES {
        Err(Error::KeyTooLarge)
    } else {
        Ok(())
    }
}

/// Checks that `signatures`, if there are any, map users to key ids to signatures.
fn check_signatures(object: &CanonicalJsonObject) -> Result<(), Error> {
    let malformed = || Error::Malformed("signatures are not strings by user and key id".to_owned());
    let Some(signatures) = object.get("signatures") else {
        return Ok(());
    };
    let by_user = signatures.as_object().ok_or_else(malformed)?;
    let is_text = |signature: &CanonicalJsonValue| signature.as_str().is_some();
    let is_well_formed = by_user.values().all(|by_key| {
        by_key
            .as_object()
            .is_some_and(|by_key| by_key.values().all(is_text))
    });
    is_well_formed.then_some(()).ok_or_else(malformed)
}
