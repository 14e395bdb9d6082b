//! The to-device messages of devices that users leave on the server (MSC3814).

use ruma::{DeviceId, UserId};
use storage::{stream::ToDevice, to_device};
use types::StreamPosition;

use crate::{Error, Keys};

/// The most messages in a response.
const MAX_MESSAGES: i64 = 100;

impl Keys {
    /// The messages for a device after a position, the oldest first. They stay until the device is deleted: a
    /// client that is interrupted begins again.
    pub async fn messages_of_device(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        after: StreamPosition,
    ) -> Result<Vec<(StreamPosition, ToDevice)>, Error> {
        let end = StreamPosition(i64::MAX);
        let mut db = self.database.acquire().await?;
        let messages = to_device::pending(&mut db, user_id, device_id, after, end, MAX_MESSAGES);
        Ok(messages.await?)
    }
}
