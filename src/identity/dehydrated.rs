//! Devices that users leave on the server (MSC3814).

use ruma::{DeviceId, OwnedDeviceId, UserId};
use storage::dehydrated_devices::{self, DehydratedDevice};

use crate::{
    Error, Identity, Result,
    devices::{check_device_text, delete_devices_with},
};

/// The largest encrypted device, in bytes.
const MAX_DATA: usize = 64 * 1024;

const MISSING: Error = Error::NotFound("There is no dehydrated device");

impl Identity {
    /// The user's dehydrated device.
    pub async fn dehydrated_device(&self, user_id: &UserId) -> Result<DehydratedDevice> {
        let mut db = self.0.database.acquire().await?;
        let device = dehydrated_devices::find(&mut db, user_id).await?;
        device.ok_or(MISSING)
    }

    /// Adds a dehydrated device, without keys so far, in the place of the one before. `data` is the
    /// encrypted device, a JSON object.
    pub async fn replace_dehydrated_device(
        &self,
        user_id: &UserId,
        (device_id, data): (&DeviceId, &str),
        display_name: Option<&str>,
    ) -> Result<()> {
        for text in [device_id.as_str(), display_name.unwrap_or_default()] {
            check_device_text(text)?;
        }
        if device_id.as_str().is_empty() {
            return Err(Error::InvalidParam("The device id is empty"));
        }
        if data.len() > MAX_DATA {
            return Err(Error::TooLarge("The dehydrated device is too large"));
        }
        let mut tx = self.0.database.begin().await?;
        storage::users::lock(&mut tx, user_id).await?;
        let before = dehydrated_devices::find(&mut tx, user_id).await?;
        let before: Vec<OwnedDeviceId> =
            before.map(|device| device.device_id).into_iter().collect();
        let (changes, ended) = delete_devices_with(&mut tx, user_id, &before).await?;
        let now = self.now();
        if !storage::devices::insert(&mut tx, user_id, device_id, display_name, now).await? {
            return Err(Error::InvalidParam("There is a device of this id already"));
        }
        dehydrated_devices::insert(&mut tx, user_id, device_id, data).await?;
        tx.commit_with(changes).await?;
        self.revoke_tokens(&ended);
        Ok(())
    }

    /// Deletes the user's dehydrated device, and returns which one it was.
    pub async fn delete_dehydrated_device(&self, user_id: &UserId) -> Result<OwnedDeviceId> {
        let device_id = self.dehydrated_device(user_id).await?.device_id;
        self.delete_devices_of(user_id, std::slice::from_ref(&device_id))
            .await?;
        Ok(device_id)
    }
}
