//! Uploading a device's keys.

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OneTimeKeyAlgorithm, OwnedDeviceId, OwnedOneTimeKeyId, OwnedUserId, UserId,
    encryption::{DeviceKeys, OneTimeKey},
    serde::Raw,
};
use serde::{Deserialize, de::IgnoredAny};
use storage::{
    Change, Changes, Connection, device_keys,
    one_time_keys::{self, KeyCounts},
};

use crate::{
    Error, Keys,
    names::check_name,
    signed::{PublicKeys, Signed},
};

/// One-time keys that one device may have on the server; clients keep about fifty there.
const MAX_ONE_TIME_KEYS: u64 = 10_000;
/// The largest key with its signatures, in bytes: whoever shares a room with the device fetches it.
const MAX_KEY_BYTES: usize = 65_536;

/// What a device uploads; each part may be missing.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// Its identity keys.
    pub device_keys: Option<Raw<DeviceKeys>>,
    /// Keys to be given out once each.
    pub one_time_keys: BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
    /// Keys to be given out when the others have run out, one per algorithm.
    pub fallback_keys: BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
}

/// What must be there in device keys.
#[derive(Deserialize)]
struct Identity {
    user_id: OwnedUserId,
    device_id: OwnedDeviceId,
    #[serde(rename = "algorithms")]
    _algorithms: Vec<IgnoredAny>,
    keys: PublicKeys,
}

impl Keys {
    /// Stores the keys that a device uploads and tells how many it has now.
    #[tracing::instrument(name = "e2ee.upload", skip_all, fields(user.id = %user_id), err(level = "debug"))]
    pub async fn upload(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        upload: Upload,
    ) -> Result<KeyCounts, Error> {
        let mut tx = self.database.begin().await?;
        if !device_keys::lock_device(&mut tx, user_id, device_id).await? {
            return Err(Error::UnknownDevice);
        }
        let stored = device_keys::find_for_update(&mut tx, user_id, device_id).await?;
        let stored = stored.as_deref().map(Signed::parse).transpose()?;
        let mut changes = Changes::new();
        let mut identity = stored.clone();
        if let Some(uploaded) = upload.device_keys {
            let keys = device_keys(user_id, device_id, uploaded.json().get(), stored.as_ref())?;
            if stored.as_ref() != Some(&keys) {
                device_keys::replace(&mut tx, user_id, device_id, &keys.to_json()).await?;
                changes.push(Change::DeviceList {
                    user_id: user_id.to_owned(),
                });
            }
            identity = Some(keys);
        }
        let signer = Signer {
            user_id,
            device_id,
            public_key: identity.and_then(|keys| public_key(&keys, device_id)),
        };
        let one_time = signer.check(upload.one_time_keys)?;
        let fallback = signer.check(upload.fallback_keys)?;
        let mut news = store_one_time_keys(&mut tx, user_id, device_id, &one_time).await?;
        if !fallback.is_empty() {
            news |= one_time_keys::replace_fallback(
                &mut tx,
                user_id,
                device_id,
                &one_of_each(fallback),
            )
            .await?
                > 0;
        }
        if news {
            changes.push(Change::KeyCounts {
                user_id: user_id.to_owned(),
                device_id: device_id.to_owned(),
            });
        }
        let counts = one_time_keys::counts(&mut tx, user_id, device_id).await?;
        if counts.one_time.values().sum::<u64>() > MAX_ONE_TIME_KEYS {
            return Err(Error::TooManyKeys);
        }
        tx.commit_with(changes).await?;
        Ok(counts)
    }
}

/// Checks device keys; the cross-signatures of those that are stored stay while the keys do.
fn device_keys(
    user_id: &UserId,
    device_id: &DeviceId,
    json: &str,
    stored: Option<&Signed>,
) -> Result<Signed, Error> {
    check_size(json)?;
    let identity: Identity =
        serde_json::from_str(json).map_err(|error| Error::Malformed(error.to_string()))?;
    if identity.user_id != user_id || identity.device_id != device_id {
        return Err(Error::NotYours);
    }
    let mut keys = Signed::parse(json)?;
    // Keys without any signature are let through: other clients ignore such a device, and nobody
    // but the device itself can upload them.
    keys.keep_verified(user_id, &own_key(&identity.keys, device_id))?;
    if let Some(stored) = stored.filter(|stored| stored.same_content(&keys)) {
        let uploaded = keys.signatures_by(user_id);
        keys = stored.clone();
        for (key_id, signature) in uploaded {
            keys.add_signature(user_id, &key_id, &signature);
        }
    }
    Ok(keys)
}

fn check_size(key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY_BYTES {
        Err(Error::KeyTooLarge)
    } else {
        Ok(())
    }
}

/// The key with which the device signs, of all its keys.
fn own_key(keys: &PublicKeys, device_id: &DeviceId) -> PublicKeys {
    let key_id = format!("ed25519:{device_id}");
    keys.get(&key_id)
        .map(|key| (key_id, key.clone()))
        .into_iter()
        .collect()
}

/// The public key with which a device signs.
pub(crate) fn public_key(keys: &Signed, device_id: &DeviceId) -> Option<String> {
    let identity: Identity = serde_json::from_str(&keys.to_json()).ok()?;
    identity.keys.get(&format!("ed25519:{device_id}")).cloned()
}

async fn store_one_time_keys(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    keys: &[one_time_keys::OneTimeKey],
) -> Result<bool, Error> {
    if keys.is_empty() {
        return Ok(false);
    }
    let inserted = one_time_keys::insert(&mut *db, user_id, device_id, keys).await?;
    if inserted < keys.len() as u64 {
        // Some were there already: clients repeat an upload whose answer they did not get.
        for stored in one_time_keys::with_ids_of(db, user_id, device_id, keys).await? {
            let same_id = |key: &&one_time_keys::OneTimeKey| {
                key.algorithm == stored.algorithm && key.key_id == stored.key_id
            };
            if keys
                .iter()
                .find(same_id)
                .is_some_and(|key| !same_key(&key.key, &stored.key))
            {
                return Err(Error::OneTimeKeyExists(format!(
                    "{}:{}",
                    stored.algorithm, stored.key_id
                )));
            }
        }
    }
    Ok(inserted > 0)
}

/// Whether both are the same key; it may have been signed twice.
fn same_key(one: &str, other: &str) -> bool {
    one == other
        || match (Signed::parse(one), Signed::parse(other)) {
            (Ok(one), Ok(other)) => one.same_content(&other),
            _ => false,
        }
}

/// The last key of each algorithm.
fn one_of_each(keys: Vec<one_time_keys::OneTimeKey>) -> Vec<one_time_keys::OneTimeKey> {
    let keys: BTreeMap<_, _> = keys
        .into_iter()
        .map(|key| (key.algorithm.clone(), key))
        .collect();
    keys.into_values().collect()
}

/// The device that must have signed its one-time and fallback keys.
struct Signer<'a> {
    user_id: &'a UserId,
    device_id: &'a DeviceId,
    /// None while the device has not uploaded identity keys: then only those who claim the keys
    /// can check them.
    public_key: Option<String>,
}

impl Signer<'_> {
    fn check(
        &self,
        keys: BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
    ) -> Result<Vec<one_time_keys::OneTimeKey>, Error> {
        keys.into_iter()
            .map(|(id, key)| {
                let algorithm = id.algorithm();
                check_name("id of the key", id.as_str())?;
                check_size(key.json().get())?;
                let key = if algorithm == OneTimeKeyAlgorithm::SignedCurve25519 {
                    self.check_signed(key.json().get())?
                } else {
                    key.deserialize()
                        .map_err(|error| Error::Malformed(error.to_string()))?;
                    key.json().get().to_owned()
                };
                Ok(one_time_keys::OneTimeKey {
                    algorithm: algorithm.as_str().to_owned(),
                    key_id: id.key_name().to_string(),
                    key,
                })
            })
            .collect()
    }

    fn check_signed(&self, json: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Key {
            #[serde(rename = "key")]
            _key: String,
        }
        let _shape: Key =
            serde_json::from_str(json).map_err(|error| Error::Malformed(error.to_string()))?;
        let key = Signed::parse(json)?;
        if let Some(public_key) = &self.public_key {
            key.verify(
                self.user_id,
                &format!("ed25519:{}", self.device_id),
                public_key,
            )?;
        }
        Ok(key.to_json())
    }
}
