//! Requests for the devices and keys of users of other servers.
//!
//! Spec: server-server, "Device Management", "End-to-End Encryption".

use std::{collections::BTreeMap, time::Duration};

use ruma::{
    OneTimeKeyAlgorithm, OwnedDeviceId, OwnedOneTimeKeyId, OwnedUserId, ServerName, UserId,
    api::federation::{device::get_devices, keys::claim_keys, keys::get_keys},
    encryption::{CrossSigningKey, DeviceKeys, OneTimeKey},
    serde::Raw,
};

use crate::{Federation, Result, client::Limits};

/// The longest time that a client waits for keys; callers may wait less.
const KEYS: Limits = Limits {
    timeout: Duration::from_secs(30),
    max_body: 16 * 1024 * 1024,
};
/// The devices of one user.
const DEVICES: Limits = Limits {
    timeout: Duration::from_secs(30),
    max_body: 4 * 1024 * 1024,
};

/// The devices of a user, as the user's server knows them.
#[derive(Clone, Debug)]
pub struct UserDevices {
    /// The last update of the list that is in it.
    pub stream_id: u64,
    /// The devices with keys: id, keys, and the name if the server tells it.
    pub devices: Vec<(OwnedDeviceId, Raw<DeviceKeys>, Option<String>)>,
    /// The master key.
    pub master_key: Option<Raw<CrossSigningKey>>,
    /// The self-signing key.
    pub self_signing_key: Option<Raw<CrossSigningKey>>,
}

/// Keys of users, as their server knows them.
#[derive(Clone, Debug, Default)]
pub struct UserKeys {
    /// The identity keys of devices.
    pub device_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Raw<DeviceKeys>>>,
    /// Master keys.
    pub master_keys: BTreeMap<OwnedUserId, Raw<CrossSigningKey>>,
    /// Self-signing keys.
    pub self_signing_keys: BTreeMap<OwnedUserId, Raw<CrossSigningKey>>,
}

/// One-time keys by user, device and key id.
pub type OneTimeKeys =
    BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>>>;

impl Federation {
    /// Asks a user's server for the user's devices.
    pub async fn user_devices(&self, user_id: &UserId) -> Result<UserDevices> {
        let request = get_devices::v1::Request::new(user_id.to_owned());
        let response = self
            .request(user_id.server_name(), request, DEVICES)
            .await?;
        let devices = response.devices.into_iter();
        Ok(UserDevices {
            stream_id: response.stream_id.into(),
            devices: devices
                .map(|device| (device.device_id, device.keys, device.device_display_name))
                .collect(),
            master_key: response.master_key,
            self_signing_key: response.self_signing_key,
        })
    }

    /// Asks a server for the keys of users of it: of the listed devices, or of all if the list is
    /// empty. What it returns is not checked.
    pub async fn query_keys(
        &self,
        server: &ServerName,
        wanted: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    ) -> Result<UserKeys> {
        let request = get_keys::v1::Request::new(wanted);
        let response = self.request(server, request, KEYS).await?;
        Ok(UserKeys {
            device_keys: response.device_keys,
            master_keys: response.master_keys,
            self_signing_keys: response.self_signing_keys,
        })
    }

    /// Takes one-time keys of devices of a server's users. What it returns is not checked.
    pub async fn claim_keys(
        &self,
        server: &ServerName,
        wanted: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, OneTimeKeyAlgorithm>>,
    ) -> Result<OneTimeKeys> {
        let request = claim_keys::v1::Request::new(wanted);
        Ok(self.request(server, request, KEYS).await?.one_time_keys)
    }
}
