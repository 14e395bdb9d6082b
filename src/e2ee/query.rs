//! `/keys/query`: device keys and cross-signing keys of users.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId, UserId,
    encryption::{CrossSigningKey, DeviceKeys, KeyUsage},
    serde::Raw,
};
use serde_json::value::RawValue;
use storage::{Connection, cross_signing, device_keys};

use crate::{
    Error, Keys,
    key_cache::{CacheVersion, CachedDevice, SignaturesMade, UserKeys},
    signed::Signed,
};

/// The keys of users as visible to the requester.
#[derive(Clone, Debug, Default)]
pub struct QueriedKeys {
    /// Device keys by user and device; known users without devices have an empty map.
    pub device_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Raw<DeviceKeys>>>,
    /// Master keys, with the signatures of their owners and of the requester.
    pub master_keys: BTreeMap<OwnedUserId, Raw<CrossSigningKey>>,
    /// Self-signing keys.
    pub self_signing_keys: BTreeMap<OwnedUserId, Raw<CrossSigningKey>>,
    /// The requester's user-signing key.
    pub user_signing_keys: BTreeMap<OwnedUserId, Raw<CrossSigningKey>>,
    /// Servers that could not be reached.
    pub failures: BTreeSet<OwnedServerName>,
}

impl Keys {
    /// The keys of these users: of the listed devices, or of all if the list is empty.
    ///
    /// Those of users of other servers that are not cached are asked for, for no longer than
    /// `timeout`.
    #[tracing::instrument(name = "e2ee.query", skip_all, fields(user.id = %requester), err(level = "debug"))]
    pub async fn query(
        &self,
        requester: &UserId,
        wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
        timeout: Duration,
    ) -> Result<QueriedKeys, Error> {
        let mut keys = QueriedKeys::default();
        let found = self.published(wanted.keys()).await?;
        for (user_id, user) in found {
            if let Some(key) = user.user_signing.as_ref().filter(|_| user_id == requester) {
                keys.user_signing_keys.insert(user_id.clone(), raw(key)?);
            }
            keys.add(user_id, &user, &wanted, true)?;
        }
        let mut unknown = wanted;
        unknown.retain(|user_id, _| {
            !self.is_local(user_id) && !keys.device_keys.contains_key(user_id)
        });
        if !unknown.is_empty() {
            self.ask_for_keys(unknown, timeout, &mut keys).await?;
        }
        if !keys.master_keys.is_empty() {
            let made = self.signatures_made(requester).await?;
            keys.sign(requester, &made)?;
        }
        Ok(keys)
    }

    /// The keys of those of the users who have an account here, or whose keys are cached.
    pub(crate) async fn published(
        &self,
        user_ids: impl Iterator<Item = &OwnedUserId>,
    ) -> Result<Vec<(OwnedUserId, Arc<UserKeys>)>, Error> {
        let mut missing: Vec<OwnedUserId> = user_ids.cloned().collect();
        let mut found = Vec::with_capacity(missing.len());
        if missing.is_empty() {
            return Ok(found);
        }
        if self.cache.is_followed() {
            // Commits of other processes count: their clients may already have shown them to others.
            let committed = self.database.latest_position().await?;
            if self.cache.wait_until_applied(committed).await {
                missing.retain(|user_id| match self.cache.user(user_id) {
                    Some(keys) => {
                        found.push((user_id.clone(), keys));
                        false
                    }
                    None => true,
                });
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let versions: BTreeMap<OwnedUserId, CacheVersion> = missing
            .iter()
            .map(|user_id| (user_id.clone(), self.cache.version(user_id)))
            .collect();
        // One snapshot for all: device keys fit the cross-signing keys that signed them.
        let mut snapshot = self.database.snapshot().await?;
        let loaded = Self::load_from(&mut snapshot, &missing).await?;
        snapshot.commit().await?;
        for (user_id, keys) in loaded {
            let keys = Arc::new(keys);
            if let Some(version) = versions.get(&user_id).filter(|_| self.cache.is_followed()) {
                let keys = Arc::clone(&keys);
                self.cache.insert_user(user_id.clone(), keys, *version);
            }
            found.push((user_id, keys));
        }
        Ok(found)
    }

    /// Reads the keys of users from a snapshot of the database.
    pub(crate) async fn load_from(
        snapshot: &mut Connection,
        user_ids: &[OwnedUserId],
    ) -> Result<BTreeMap<OwnedUserId, UserKeys>, Error> {
        let mut found: BTreeMap<OwnedUserId, UserKeys> = BTreeMap::new();
        for (user_id, device) in device_keys::of_users(&mut *snapshot, user_ids).await? {
            let user = found.entry(user_id).or_default();
            if let Some(device) = device {
                user.devices.push(CachedDevice {
                    device_id: device.device_id,
                    keys: device.keys.into(),
                    display_name: device.display_name.map(Into::into),
                });
            }
        }
        let stored = cross_signing::of_users(&mut *snapshot, user_ids).await?;
        let added = if stored.is_empty() {
            Vec::new()
        } else {
            cross_signing::signatures_by_owners(snapshot, user_ids).await?
        };
        for key in stored {
            let Some(user) = found.get_mut(&key.user_id) else {
                continue;
            };
            match key.usage {
                KeyUsage::Master => {
                    let mut signed = Signed::parse(&key.key)?;
                    for added in added.iter().filter(|added| added.user_id == key.user_id) {
                        signed.add_signature(&added.signer, &added.signer_key, &added.signature);
                    }
                    user.master = Some(signed.to_json().into());
                }
                KeyUsage::SelfSigning => user.self_signing = Some(key.key.into()),
                KeyUsage::UserSigning => user.user_signing = Some(key.key.into()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// The signatures that a user has added to the master keys of others.
    async fn signatures_made(&self, signer: &UserId) -> Result<Arc<SignaturesMade>, Error> {
        if let Some(made) = self.cache.made(signer) {
            return Ok(made);
        }
        let version = self.cache.version(signer);
        let mut made = SignaturesMade::new();
        let mut db = self.database.acquire().await?;
        for signature in cross_signing::signatures_by(&mut db, signer).await? {
            made.entry((signature.user_id, signature.public_key))
                .or_default()
                .insert(signature.signer_key, signature.signature);
        }
        let made = Arc::new(made);
        if self.cache.is_followed() {
            let kept = Arc::clone(&made);
            self.cache.insert_made(signer.to_owned(), kept, version);
        }
        Ok(made)
    }
}

impl QueriedKeys {
    /// Adds the keys of a user that everybody may see: of the devices that are wanted, with their
    /// names or without.
    pub(crate) fn add(
        &mut self,
        user_id: OwnedUserId,
        user: &UserKeys,
        wanted: &BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
        names: bool,
    ) -> Result<(), Error> {
        let chosen = wanted.get(&user_id).filter(|chosen| !chosen.is_empty());
        let devices = self.device_keys.entry(user_id.clone()).or_default();
        for device in &user.devices {
            if chosen.is_none_or(|chosen| chosen.contains(&device.device_id)) {
                let name = device.display_name.as_deref().filter(|_| names);
                let keys = with_display_name(&device.keys, name)?;
                devices.insert(device.device_id.clone(), raw(&keys)?);
            }
        }
        if let Some(key) = &user.master {
            self.master_keys.insert(user_id.clone(), raw(key)?);
        }
        if let Some(key) = &user.self_signing {
            self.self_signing_keys.insert(user_id, raw(key)?);
        }
        Ok(())
    }

    /// Adds the signatures to master keys that only the requester gets to see.
    fn sign(&mut self, requester: &UserId, made: &SignaturesMade) -> Result<(), Error> {
        for ((owner, public_key), signatures) in made {
            let Some(master) = self.master_keys.get_mut(owner) else {
                continue;
            };
            let mut signed = Signed::parse(master.json().get())?;
            if !signed.is_key(public_key) {
                continue;
            }
            for (signer_key, signature) in signatures {
                signed.add_signature(requester, signer_key, signature);
            }
            *master = raw(&signed.to_json())?;
        }
        Ok(())
    }
}

/// Adds the device's display name to the keys, which are a JSON object without `unsigned`.
pub(crate) fn with_display_name(keys: &str, display_name: Option<&str>) -> Result<String, Error> {
    let Some((display_name, rest)) = display_name.zip(keys.strip_prefix('{')) else {
        return Ok(keys.to_owned());
    };
    let display_name = serde_json::to_string(display_name).map_err(corrupt)?;
    Ok(format!(
        r#"{{"unsigned":{{"device_display_name":{display_name}}},{rest}"#
    ))
}

pub(crate) fn raw<T>(json: &str) -> Result<Raw<T>, Error> {
    Ok(Raw::from_json(
        RawValue::from_string(json.to_owned()).map_err(corrupt)?,
    ))
}

fn corrupt(error: serde_json::Error) -> Error {
    Error::Storage(storage::Error::Corrupt(error.to_string()))
}
