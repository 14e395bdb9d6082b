//! Claiming one-time keys, with which clients establish sessions with other devices.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ruma::{
    OneTimeKeyAlgorithm, OwnedDeviceId, OwnedOneTimeKeyId, OwnedServerName, OwnedUserId,
    encryption::OneTimeKey, serde::Raw,
};
use serde_json::value::RawValue;
use storage::one_time_keys::KeyRequest;

use crate::{Error, Keys, identifiers::is_valid_identifier};

/// The algorithms of the keys that are wanted, by user and device.
pub type Claims = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, OneTimeKeyAlgorithm>>;

/// The claimed keys.
#[derive(Clone, Debug, Default)]
pub struct ClaimedKeys {
    /// By user, device and key id.
    pub one_time_keys: BTreeMap<
        OwnedUserId,
        BTreeMap<OwnedDeviceId, BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>>,
    >,
    /// Servers that could not be reached.
    pub failures: BTreeSet<OwnedServerName>,
}

impl Keys {
    /// Claims one key per device: a one-time key if one is left, else the fallback key. Other servers
    /// are asked for no longer than `timeout`.
    #[tracing::instrument(name = "e2ee.claim", skip_all, err(level = "debug"))]
    pub async fn claim(&self, wanted: Claims, timeout: Duration) -> Result<ClaimedKeys, Error> {
        let (local, remote): (Claims, Claims) = wanted
            .into_iter()
            .partition(|(user_id, _)| self.is_local(user_id));
        let mut claimed = self.claim_local(local).await?;
        if !remote.is_empty() {
            self.ask_for_one_time_keys(remote, timeout, &mut claimed)
                .await;
        }
        Ok(claimed)
    }

    /// Claims keys of this server's users.
    pub(crate) async fn claim_local(&self, wanted: Claims) -> Result<ClaimedKeys, Error> {
        let mut claimed = ClaimedKeys::default();
        let mut requests = Vec::new();
        for (user_id, devices) in wanted {
            // An identifier that cannot be stored has no key.
            let devices = devices.into_iter().filter(|(device_id, algorithm)| {
                is_valid_identifier(device_id.as_str()) && is_valid_identifier(algorithm.as_str())
            });
            requests.extend(devices.map(|(device_id, algorithm)| KeyRequest {
                user_id: user_id.clone(),
                device_id,
                algorithm: algorithm.as_str().to_owned(),
            }));
        }
        if requests.is_empty() {
            return Ok(claimed);
        }
        for key in self.committer.claim_keys(requests).await? {
            let id = format!("{}:{}", key.key.algorithm, key.key.key_id);
            let id = OwnedOneTimeKeyId::try_from(id).map_err(corrupt)?;
            let json = RawValue::from_string(key.key.key).map_err(corrupt)?;
            let devices = claimed.one_time_keys.entry(key.user_id).or_default();
            devices
                .entry(key.device_id)
                .or_default()
                .insert(id, Raw::from_json(json));
        }
        Ok(claimed)
    }
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::Storage(storage::Error::Corrupt(error.to_string()))
}
