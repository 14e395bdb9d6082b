//! Devices that users leave on the server, to receive room keys while they are logged in nowhere (MSC3814).

use ruma::{DeviceId, OwnedDeviceId, UserId};

use crate::{Connection, Error};

/// A device that is left on the server.
#[derive(Clone, Debug)]
pub struct DehydratedDevice {
    /// Which.
    pub device_id: OwnedDeviceId,
    /// The encrypted device, a JSON object as it was sent.
    pub data: String,
}

/// The user's dehydrated device.
pub async fn find(
    db: &mut Connection,
    user_id: &UserId,
) -> Result<Option<DehydratedDevice>, Error> {
    let row = sqlx::query!(
        "SELECT device_id, data FROM dehydrated_devices WHERE user_id = $1",
        user_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| DehydratedDevice {
        device_id: row.device_id.into(),
        data: row.data,
    }))
}

/// Makes a device, which exists, the user's only dehydrated one. It ends with the device.
pub async fn insert(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    data: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO dehydrated_devices (user_id, device_id, data) VALUES ($1, $2, $3)",
        user_id.as_str(),
        device_id.as_str(),
        data
    )
    .execute(db)
    .await?;
    Ok(())
}
