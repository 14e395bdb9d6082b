//! `/keys/query`: device keys and cross-signing keys of users.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId, UserId,
    encryption::{CrossSigningKey, DeviceKeys, KeyUsage},
    serde::Raw,
};
use serde_json::value::RawValue;
use storage::{Connection, cross_signing, device_keys};

use crate::{Error, Keys, signed::Signed};

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
        // One snapshot, so that device keys are consistent with the cross-signing keys that signed them.
        let mut snapshot = self.database.snapshot().await?;
        let user_ids: Vec<OwnedUserId> = local.keys().cloned().collect();
        for (user_id, device) in device_keys::of_users(&mut snapshot, &user_ids).await? {
            let chosen = local.get(&user_id);
            let devices = keys.device_keys.entry(user_id).or_default();
            let is_wanted = |device_id: &OwnedDeviceId| {
                chosen.is_none_or(|chosen| chosen.is_empty() || chosen.contains(device_id))
            };
            if let Some(device) = device.filter(|device| is_wanted(&device.device_id)) {
                let json = with_display_name(&device.keys, device.display_name.as_deref())?;
                devices.insert(device.device_id, raw(json)?);
            }
        }
        keys.add_cross_signing(&mut snapshot, &user_ids, requester)
            .await?;
        snapshot.commit().await?;
        Ok(keys)
    }
}

impl QueriedKeys {
    async fn add_cross_signing(
        &mut self,
        db: &mut Connection,
        user_ids: &[OwnedUserId],
        requester: &UserId,
    ) -> Result<(), Error> {
        let stored = cross_signing::of_users(&mut *db, user_ids).await?;
        if stored.is_empty() {
            return Ok(());
        }
        let added = cross_signing::signatures(db, user_ids, requester).await?;
        for key in stored {
            match key.usage {
                KeyUsage::Master => {
                    let mut signed = Signed::parse(&key.key)?;
                    for added in added.iter().filter(|added| added.user_id == key.user_id) {
                        signed.add_signature(&added.signer, &added.signer_key, &added.signature);
                    }
                    self.master_keys.insert(key.user_id, raw(signed.to_json())?);
                }
                KeyUsage::SelfSigning => {
                    self.self_signing_keys.insert(key.user_id, raw(key.key)?);
                }
                KeyUsage::UserSigning if key.user_id == requester => {
                    self.user_signing_keys.insert(key.user_id, raw(key.key)?);
                }
                _ => {}
            }
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

fn raw<T>(json: String) -> Result<Raw<T>, Error> {
    Ok(Raw::from_json(
        RawValue::from_string(json).map_err(corrupt)?,
    ))
}

fn corrupt(error: serde_json::Error) -> Error {
    Error::Storage(storage::Error::Corrupt(error.to_string()))
}
