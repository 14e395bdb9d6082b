//! Account data that says whether a device shows notifications: it goes with the device.
//!
//! Spec: MSC3890, "Remotely silence local notifications".

use ruma::{OwnedDeviceId, UserId};
use storage::{Connection, UserChange, stream::AccountData};

use crate::{Result, account_data::DELETED};

/// The types, followed by the id of the device.
const PREFIXES: [&str; 2] = [
    "org.matrix.msc3890.local_notification_settings.",
    "m.local_notification_settings.",
];

/// The changes that delete the settings of devices, as far as there are any.
pub(crate) async fn delete(
    db: &mut Connection,
    user_id: &UserId,
    device_ids: &[OwnedDeviceId],
) -> Result<Vec<UserChange>> {
    let types = device_ids
        .iter()
        .flat_map(|device_id| PREFIXES.map(|prefix| format!("{prefix}{device_id}")));
    let types: Vec<String> = types.collect();
    let existing = storage::account_data::existing(db, user_id, &types).await?;
    let changes = existing.into_iter().map(|event_type| {
        UserChange::AccountData(AccountData {
            user_id: user_id.to_owned(),
            room_nid: None,
            event_type,
            content: DELETED.to_owned(),
        })
    });
    Ok(changes.collect())
}
