//! `/keys/upload`: a device's keys.

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OneTimeKeyAlgorithm, OwnedDeviceId, OwnedOneTimeKeyId, OwnedUserId, UserId,
    encryption::{self, OneTimeKey},
    serde::Raw,
};
use serde::{Deserialize, de::IgnoredAny};
use storage::{
    Connection, NewDeviceKeys, UploadOutcome, device_keys, devices,
    one_time_keys::{self, KeyCounts, OneTimeKey as StoredKey},
};

use crate::{
    Error, Keys,
    cross_signing::StoredKeys,
    identifiers::check_identifier,
    signed::{PublicKeys, Signed, check_size},
};

/// The most one-time keys of one device; clients keep about fifty on the server.
const MAX_ONE_TIME_KEYS: u64 = 10_000;
/// How often an upload is verified again because the device's identity keys changed meanwhile.
const MAX_ATTEMPTS: usize = 4;

/// Keys by their id.
type KeysById = BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>;

/// The keys of an upload; each part may be absent.
#[derive(Clone, Debug, Default)]
pub struct KeyUpload {
    /// The device's identity keys.
    pub device_keys: Option<Raw<encryption::DeviceKeys>>,
    /// One-time keys.
    pub one_time_keys: KeysById,
    /// Fallback keys, one per algorithm.
    pub fallback_keys: KeysById,
}

/// The required fields of device keys.
#[derive(Deserialize)]
struct DeviceKeysContent {
    user_id: OwnedUserId,
    device_id: OwnedDeviceId,
    #[serde(rename = "algorithms")]
    _algorithms: Vec<IgnoredAny>,
    keys: PublicKeys,
}

impl Keys {
    /// Verifies and stores the keys of a device; returns its key counts.
    #[tracing::instrument(name = "e2ee.upload", skip_all, fields(user.id = %user_id), err(level = "debug"))]
    pub async fn upload(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        upload: KeyUpload,
    ) -> Result<KeyCounts, Error> {
        if upload.is_empty() {
            let mut db = self.database.acquire().await?;
            let device = devices::find(&mut db, user_id, device_id).await?;
            device.ok_or(Error::UnknownDevice)?;
            return Ok(one_time_keys::counts(&mut db, user_id, device_id).await?);
        }
        for _ in 0..MAX_ATTEMPTS {
            let upload = {
                let mut db = self.database.acquire().await?;
                upload.check(&mut db, user_id, device_id).await?
            };
            if let Some(counts) = self.store(upload).await? {
                return Ok(counts);
            }
        }
        Err(Error::Changing)
    }

    /// Stores a checked upload; `None` if the device's identity keys have changed since.
    async fn store(&self, mut upload: storage::KeyUpload) -> Result<Option<KeyCounts>, Error> {
        loop {
            match self.committer.upload_keys(upload.clone()).await? {
                UploadOutcome::Stored(counts) => return Ok(Some(counts)),
                UploadOutcome::Changed => return Ok(None),
                UploadOutcome::TooMany => return Err(Error::TooManyKeys),
                UploadOutcome::UnknownDevice => return Err(Error::UnknownDevice),
                // Clients repeat an upload whose response they did not receive, and may sign anew.
                UploadOutcome::IdsTaken(stored) => {
                    for stored in stored {
                        let same_id = |key: &StoredKey| {
                            key.algorithm == stored.algorithm && key.key_id == stored.key_id
                        };
                        let uploaded = upload.one_time_keys.iter().find(|key| same_id(key));
                        if uploaded.is_some_and(|key| !same_key(&key.key, &stored.key)) {
                            let id = format!("{}:{}", stored.algorithm, stored.key_id);
                            return Err(Error::OneTimeKeyExists(id));
                        }
                        upload.one_time_keys.retain(|key| !same_id(key));
                    }
                }
            }
        }
    }
}

impl KeyUpload {
    fn is_empty(&self) -> bool {
        self.device_keys.is_none() && self.one_time_keys.is_empty() && self.fallback_keys.is_empty()
    }

    /// Verifies the keys, and merges them with the identity keys that are stored.
    async fn check(
        &self,
        db: &mut Connection,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<storage::KeyUpload, Error> {
        let replaces = device_keys::find(&mut *db, user_id, device_id).await?;
        let stored = replaces.as_deref().map(Signed::parse).transpose()?;
        let mut content = stored.clone();
        let mut new_keys = None;
        if let Some(uploaded) = &self.device_keys {
            let uploaded = DeviceKeys::parse(user_id, device_id, uploaded.json().get())?;
            uploaded.verify(db).await?;
            let keys = uploaded.merged(stored.as_ref());
            if stored.as_ref() != Some(&keys) {
                let json = keys.to_json();
                // Signatures that cannot be verified must not accumulate.
                check_size(&json)?;
                new_keys = Some(NewDeviceKeys {
                    replaces,
                    keys: json,
                });
            }
            content = Some(keys);
        }
        let signer = DeviceSigner {
            user_id,
            device_id,
            public_key: content.and_then(|keys| keys.device_key(device_id).map(str::to_owned)),
        };
        let [one_time_keys, fallback_keys] =
            signer.check([&self.one_time_keys, &self.fallback_keys])?;
        Ok(storage::KeyUpload {
            user_id: user_id.to_owned(),
            device_id: device_id.to_owned(),
            device_keys: new_keys,
            one_time_keys,
            fallback_keys: last_per_algorithm(fallback_keys),
            limit: MAX_ONE_TIME_KEYS,
        })
    }
}

/// Device keys of an upload.
struct DeviceKeys<'a> {
    user_id: &'a UserId,
    /// The device's own key, by key id.
    own_key: PublicKeys,
    keys: Signed,
}

impl<'a> DeviceKeys<'a> {
    fn parse(user_id: &'a UserId, device_id: &DeviceId, json: &str) -> Result<Self, Error> {
        check_size(json)?;
        let content: DeviceKeysContent =
            serde_json::from_str(json).map_err(|error| Error::Malformed(error.to_string()))?;
        if content.user_id != user_id || content.device_id != device_id {
            return Err(Error::WrongOwner);
        }
        Ok(Self {
            user_id,
            own_key: own_key(&content.keys, device_id),
            keys: Signed::parse(json)?,
        })
    }

    /// Verifies the signatures by the device itself and by the user's cross-signing keys.
    ///
    /// Keys without a signature are accepted: other clients ignore such a device, and only the
    /// device itself can upload them.
    async fn verify(&self, db: &mut Connection) -> Result<(), Error> {
        self.keys.verify_known(self.user_id, &self.own_key)?;
        let key_id = self.own_key.keys().next().map_or("", String::as_str);
        if self.keys.is_signed_only_by(self.user_id, key_id) {
            return Ok(());
        }
        // Clients that received the cross-signing keys from another device sign their own device
        // keys before the first upload.
        let cross_signing = StoredKeys::of(db, self.user_id).await?;
        self.keys
            .verify_known(self.user_id, &cross_signing.signers())
    }

    /// The keys to store: signatures that are stored with the same keys are kept.
    fn merged(self, stored: Option<&Signed>) -> Signed {
        match stored.filter(|stored| stored.same_content(&self.keys)) {
            Some(stored) => {
                let mut merged = stored.clone();
                merged.merge_signatures(&self.keys);
                merged
            }
            None => self.keys,
        }
    }
}

/// The device's Ed25519 key, by key id.
fn own_key(keys: &PublicKeys, device_id: &DeviceId) -> PublicKeys {
    let key_id = format!("ed25519:{device_id}");
    keys.get(&key_id)
        .map(|key| (key_id, key.clone()))
        .into_iter()
        .collect()
}

/// Whether both are the same key, possibly with different signatures.
fn same_key(one: &str, other: &str) -> bool {
    one == other
        || match (Signed::parse(one), Signed::parse(other)) {
            (Ok(one), Ok(other)) => one.same_content(&other),
            _ => false,
        }
}

/// The last key of each algorithm.
fn last_per_algorithm(keys: Vec<StoredKey>) -> Vec<StoredKey> {
    let keys: BTreeMap<_, _> = keys
        .into_iter()
        .map(|key| (key.algorithm.clone(), key))
        .collect();
    keys.into_values().collect()
}

/// Verifies one-time and fallback keys, which their device must have signed.
struct DeviceSigner<'a> {
    user_id: &'a UserId,
    device_id: &'a DeviceId,
    /// `None` while the device has no identity keys: then only the claiming client can verify them.
    public_key: Option<String>,
}

impl DeviceSigner<'_> {
    /// Checks the form of all keys, and the signatures of all that must have one.
    fn check<const N: usize>(&self, keys: [&KeysById; N]) -> Result<[Vec<StoredKey>; N], Error> {
        let mut signed = Vec::new();
        let mut checked = std::array::from_fn(|_| Vec::new());
        for (keys, checked) in keys.iter().zip(&mut checked) {
            for (id, key) in *keys {
                checked.push(check_form(id, key, &mut signed)?);
            }
        }
        if let Some(public_key) = &self.public_key {
            let key_id = format!("ed25519:{}", self.device_id);
            let signed: Vec<&Signed> = signed.iter().collect();
            Signed::verify_all(&signed, self.user_id, &key_id, public_key)?;
        }
        Ok(checked)
    }
}

/// Checks the form of a key; adds it to `signed` if its device must have signed it.
fn check_form(
    id: &OwnedOneTimeKeyId,
    key: &Raw<OneTimeKey>,
    signed: &mut Vec<Signed>,
) -> Result<StoredKey, Error> {
    let algorithm = id.algorithm();
    check_identifier("id of the key", id.as_str())?;
    check_size(key.json().get())?;
    let key = if algorithm == OneTimeKeyAlgorithm::SignedCurve25519 {
        let key = Signed::parse(key.json().get())?;
        if !key.has_text("key") {
            return Err(Error::Malformed("`key` is not a string".to_owned()));
        }
        let json = key.to_json();
        signed.push(key);
        json
    } else {
        key.deserialize()
            .map_err(|error| Error::Malformed(error.to_string()))?;
        key.json().get().to_owned()
    };
    Ok(StoredKey {
        algorithm: algorithm.as_str().to_owned(),
        key_id: id.key_name().to_string(),
        key,
    })
}
