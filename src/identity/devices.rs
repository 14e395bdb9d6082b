//! A user's devices.

use std::net::IpAddr;

use ruma::{DeviceId, OwnedDeviceId, UserId};
use storage::{Tx, UserChange, UserChanges, devices::Device, sessions::TokenHash};

use crate::{Error, Identity, Result, local_notifications, uia::Confirmed};

/// The longest device id and device name that are stored, in bytes.
const MAX_DEVICE_TEXT: usize = 255;

impl Identity {
    /// All devices of a user, by id.
    pub async fn devices(&self, user_id: &UserId) -> Result<Vec<Device>> {
        let mut db = self.0.database.acquire().await?;
        let devices = storage::devices::of_user(&mut db, user_id).await?;
        Ok(devices
            .into_iter()
            .map(|device| self.with_last_seen(user_id, device))
            .collect())
    }

    /// One device of a user.
    pub async fn device(&self, user_id: &UserId, device_id: &DeviceId) -> Result<Device> {
        check_device_text(device_id.as_str())?;
        let mut db = self.0.database.acquire().await?;
        let device = storage::devices::find(&mut db, user_id, device_id)
            .await?
            .ok_or(Error::UnknownDevice)?;
        Ok(self.with_last_seen(user_id, device))
    }

    /// Whether one of the user's devices was last seen at this address.
    pub async fn has_device_at(&self, user_id: &UserId, address: IpAddr) -> Result<bool> {
        if self.0.last_seen.is_at(user_id, address) {
            return Ok(true);
        }
        let mut db = self.0.database.acquire().await?;
        let address = address.to_string();
        Ok(storage::devices::was_seen_at(&mut db, user_id, &address).await?)
    }

    /// Renames a device; without a name it only checks that the device exists.
    pub async fn rename_device(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        display_name: Option<&str>,
    ) -> Result<()> {
        let Some(display_name) = display_name else {
            return self.device(user_id, device_id).await.map(drop);
        };
        check_device_text(device_id.as_str())?;
        check_device_text(display_name)?;
        let mut tx = self.0.database.begin().await?;
        let found = storage::devices::rename(&mut tx, user_id, device_id, display_name).await?;
        if !found {
            return Err(Error::UnknownDevice);
        }
        // `/keys/query` returns the name to other users.
        let user_id = user_id.to_owned();
        tx.commit_with([UserChange::DeviceList { user_id }].into_iter().collect())
            .await?;
        Ok(())
    }

    /// Deletes devices with their data; unknown ids are ignored.
    pub async fn delete_devices(
        &self,
        user_id: &UserId,
        device_ids: &[OwnedDeviceId],
        _: Confirmed,
    ) -> Result<()> {
        for device_id in device_ids {
            check_device_text(device_id.as_str())?;
        }
        self.delete_devices_of(user_id, device_ids).await
    }

    pub(crate) async fn delete_devices_of(
        &self,
        user_id: &UserId,
        device_ids: &[OwnedDeviceId],
    ) -> Result<()> {
        let mut tx = self.0.database.begin().await?;
        let (changes, ended) = delete_devices_with(&mut tx, user_id, device_ids).await?;
        tx.commit_with(changes).await?;
        self.revoke_tokens(&ended);
        Ok(())
    }

    fn with_last_seen(&self, user_id: &UserId, mut device: Device) -> Device {
        let seen = self.0.last_seen.of_device(user_id, &device.device_id);
        if let Some((ts, address)) = seen {
            device.last_seen_ts = Some(ts);
            device.last_seen_ip = Some(address.to_string());
        }
        device
    }
}

/// Deletes devices; returns what clients learn of it, and the tokens that become invalid when the
/// transaction commits.
pub(crate) async fn delete_devices_with(
    tx: &mut Tx,
    user_id: &UserId,
    device_ids: &[OwnedDeviceId],
) -> Result<(UserChanges, Vec<TokenHash>)> {
    storage::users::lock(tx, user_id).await?;
    let ended = storage::sessions::token_hashes(tx, user_id, device_ids).await?;
    let deleted = storage::devices::delete(tx, user_id, device_ids).await?;
    let mut changes = UserChanges::new();
    if !deleted.is_empty() {
        changes.push(UserChange::DeviceList {
            user_id: user_id.to_owned(),
        });
        for change in local_notifications::delete(tx, user_id, &deleted).await? {
            changes.push(change);
        }
    }
    Ok((changes, ended))
}

/// Deletes a user's devices except `kept`, and the user's login tokens; returns what
/// [`delete_devices_with`] returns.
pub(crate) async fn delete_all_devices_with(
    tx: &mut Tx,
    user_id: &UserId,
    kept: Option<&DeviceId>,
) -> Result<(UserChanges, Vec<TokenHash>)> {
    // Locked before the devices are read, so that none is added meanwhile.
    storage::users::lock(tx, user_id).await?;
    storage::sessions::delete_login_tokens(tx, user_id).await?;
    let devices = storage::devices::of_user(tx, user_id).await?;
    let device_ids: Vec<OwnedDeviceId> = devices
        .into_iter()
        .map(|device| device.device_id)
        .filter(|device_id| Some(&**device_id) != kept)
        .collect();
    delete_devices_with(tx, user_id, &device_ids).await
}

/// Checks that a device id or name is not too long and can be stored.
pub(crate) fn check_device_text(text: &str) -> Result<()> {
    if text.len() > MAX_DEVICE_TEXT {
        return Err(Error::InvalidParam("The device id or name is too long"));
    }
    if text.contains('\0') {
        return Err(Error::InvalidParam(
            "The device id or name contains a null character",
        ));
    }
    Ok(())
}
