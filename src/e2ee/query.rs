//! `/keys/query`: device keys and cross-signing keys of users.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId, UserId,
    encryption::{CrossSigningKey, DeviceKeys, KeyUsage},
    serde::Raw,
};
use serde_json::value::RawValue;
use storage::{cross_signing, device_keys};

use crate::{
    Error, Keys,
    key_cache::{MasterKey, SignaturesMade, Ticket, UserKeys},
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
    #[tracing::instrument(name = "e2ee.query", skip_all, fields(user.id = %requester), err(level = "debug"))]
    pub async fn query(
        &self,
        requester: &UserId,
        wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    ) -> Result<QueriedKeys, Error> {
        let (local, remote): (BTreeMap<_, _>, BTreeMap<_, _>) = wanted
            .into_iter()
            .partition(|(user_id, _)| self.is_local(user_id));
        let mut keys = QueriedKeys {
            failures: remote
                .keys()
                .map(|user_id| user_id.server_name().to_owned())
                .collect(),
            ..QueriedKeys::default()
        };
        if local.is_empty() {
            return Ok(keys);
        }
        let user_ids: Vec<OwnedUserId> = local.keys().cloned().collect();
        let found = self.published(&user_ids).await?;
        let made = if found.iter().any(|(_, user)| user.master.is_some()) {
            self.signatures_made(requester).await?
        } else {
            Arc::default()
        };
        for (user_id, user) in found {
            let chosen = local.get(&user_id);
            let is_wanted = |device_id: &OwnedDeviceId| {
                chosen.is_none_or(|chosen| chosen.is_empty() || chosen.contains(device_id))
            };
            keys.add(user_id, &user, requester, &made, is_wanted)?;
        }
        Ok(keys)
    }

    /// The keys of those of the users who have an account here.
    async fn published(
        &self,
        user_ids: &[OwnedUserId],
    ) -> Result<Vec<(OwnedUserId, Arc<UserKeys>)>, Error> {
        let mut found = Vec::with_capacity(user_ids.len());
        let mut missing = user_ids.to_vec();
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
        let tickets: BTreeMap<OwnedUserId, Ticket> = missing
            .iter()
            .map(|user_id| (user_id.clone(), self.cache.ticket(user_id)))
            .collect();
        for (user_id, keys) in self.load(&missing).await? {
            let keys = Arc::new(keys);
            if let Some(ticket) = tickets.get(&user_id).filter(|_| self.cache.is_followed()) {
                let keys = Arc::clone(&keys);
                self.cache.insert_user(user_id.clone(), keys, *ticket);
            }
            found.push((user_id, keys));
        }
        Ok(found)
    }

    /// Reads the keys of users from the database.
    async fn load(
        &self,
        user_ids: &[OwnedUserId],
    ) -> Result<BTreeMap<OwnedUserId, UserKeys>, Error> {
        // One snapshot for all: device keys fit the cross-signing keys that signed them.
        let mut snapshot = self.database.snapshot().await?;
        let mut found: BTreeMap<OwnedUserId, UserKeys> = BTreeMap::new();
        for (user_id, device) in device_keys::of_users(&mut snapshot, user_ids).await? {
            let user = found.entry(user_id).or_default();
            if let Some(device) = device {
                let json = with_display_name(&device.keys, device.display_name.as_deref())?;
                user.devices.push((device.device_id, json.into()));
            }
        }
        let stored = cross_signing::of_users(&mut snapshot, user_ids).await?;
        let added = if stored.is_empty() {
            Vec::new()
        } else {
            cross_signing::signatures_by_owners(&mut snapshot, user_ids).await?
        };
        snapshot.commit().await?;
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
                    user.master = Some(MasterKey {
                        public_key: key.public_key.into(),
                        key: signed.to_json().into(),
                    });
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
        let ticket = self.cache.ticket(signer);
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
            self.cache.insert_made(signer.to_owned(), kept, ticket);
        }
        Ok(made)
    }
}

impl QueriedKeys {
    /// Adds the keys of a user, as visible to the requester.
    fn add(
        &mut self,
        user_id: OwnedUserId,
        user: &UserKeys,
        requester: &UserId,
        made: &SignaturesMade,
        is_wanted: impl Fn(&OwnedDeviceId) -> bool,
    ) -> Result<(), Error> {
        let devices = self.device_keys.entry(user_id.clone()).or_default();
        for (device_id, keys) in user.devices.iter().filter(|(id, _)| is_wanted(id)) {
            devices.insert(device_id.clone(), raw(keys)?);
        }
        if let Some(master) = &user.master {
            let key = (user_id.clone(), master.public_key.to_string());
            let master = match made.get(&key) {
                Some(signatures) => {
                    let mut signed = Signed::parse(&master.key)?;
                    for (signer_key, signature) in signatures {
                        signed.add_signature(requester, signer_key, signature);
                    }
                    raw(&signed.to_json())?
                }
                None => raw(&master.key)?,
            };
            self.master_keys.insert(user_id.clone(), master);
        }
        if let Some(key) = &user.self_signing {
            self.self_signing_keys.insert(user_id.clone(), raw(key)?);
        }
        if let Some(key) = user.user_signing.as_ref().filter(|_| user_id == requester) {
            self.user_signing_keys.insert(user_id, raw(key)?);
        }
        Ok(())
    }
}

/// Adds the device's display name to the keys, which are a JSON object without `unsigned`.
fn with_display_name(keys: &str, display_name: Option<&str>) -> Result<String, Error> {
    let Some((display_name, rest)) = display_name.zip(keys.strip_prefix('{')) else {
        return Ok(keys.to_owned());
    };
    let display_name = serde_json::to_string(display_name).map_err(corrupt)?;
    Ok(format!(
        r#"{{"unsigned":{{"device_display_name":{display_name}}},{rest}"#
    ))
}

fn raw<T>(json: &str) -> Result<Raw<T>, Error> {
    Ok(Raw::from_json(
        RawValue::from_string(json.to_owned()).map_err(corrupt)?,
    ))
}

fn corrupt(error: serde_json::Error) -> Error {
    Error::Storage(storage::Error::Corrupt(error.to_string()))
}
