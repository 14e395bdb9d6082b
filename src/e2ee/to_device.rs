//! Sending to-device messages.

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OwnedUserId, TransactionId, UserId, events::AnyToDeviceEventContent, serde::Raw,
    to_device::DeviceIdOrAllDevices,
};
use storage::{UserChange, UserChanges, device_keys, stream::ToDevice, to_device};

use crate::{Error, Keys, identifiers::check_identifier};

/// The largest content of one message; as for events.
pub const MAX_MESSAGE_BYTES: usize = 65_536;
/// The most that one request may queue, all copies counted.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// Contents by user and device.
pub type Messages =
    BTreeMap<OwnedUserId, BTreeMap<DeviceIdOrAllDevices, Raw<AnyToDeviceEventContent>>>;

impl Keys {
    /// Queues messages for devices, once per transaction id of the sending device. Unknown devices
    /// are ignored.
    #[tracing::instrument(name = "e2ee.send_to_device", skip_all, fields(user.id = %sender), err(level = "debug"))]
    pub async fn send_to_device(
        &self,
        (sender, device_id): (&UserId, &DeviceId),
        transaction_id: &TransactionId,
        event_type: &str,
        messages: Messages,
    ) -> Result<(), Error> {
        check_identifier("transaction id", transaction_id.as_str())?;
        check_identifier("type of the message", event_type)?;
        for content in messages.values().flat_map(BTreeMap::values) {
            check_content(content.json().get())?;
        }
        let mut tx = self.database.begin().await?;
        if !device_keys::lock_device(&mut tx, sender, device_id).await? {
            return Err(Error::UnknownDevice);
        }
        let now = self.clock.now_ms();
        if !to_device::insert_transaction(&mut tx, sender, device_id, transaction_id, now).await? {
            return Ok(());
        }
        let user_ids: Vec<OwnedUserId> = messages
            .keys()
            .filter(|user_id| self.is_local(user_id))
            .cloned()
            .collect();
        let mut changes = UserChanges::new();
        let mut bytes = 0;
        for (user_id, device_id) in to_device::recipients(&mut tx, &user_ids).await? {
            let to_user = messages.get(&user_id);
            let content = to_user.and_then(|devices| {
                devices
                    .get(&DeviceIdOrAllDevices::DeviceId(device_id.clone()))
                    .or_else(|| devices.get(&DeviceIdOrAllDevices::AllDevices))
            });
            let Some(content) = content else {
                continue;
            };
            let content = content.json().get().to_owned();
            bytes += content.len();
            if bytes > MAX_REQUEST_BYTES {
                return Err(Error::MessageTooLarge);
            }
            let sender = sender.to_owned();
            let kind = event_type.to_owned();
            changes.push(UserChange::ToDevice(ToDevice {
                user_id,
                device_id,
                sender,
                event_type: kind,
                content,
            }));
        }
        tx.commit_with(changes).await?;
        Ok(())
    }
}

fn check_content(content: &str) -> Result<(), Error> {
    if content.len() > MAX_MESSAGE_BYTES {
        return Err(Error::MessageTooLarge);
    }
    if !content.starts_with('{') {
        return Err(Error::MalformedMessage);
    }
    Ok(())
}
