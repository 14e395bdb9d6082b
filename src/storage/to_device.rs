//! Pending to-device messages, and those that are to go to other servers.

use std::collections::HashSet;

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use types::StreamPosition;

use crate::{Connection, Error, rows::id, stream::ToDevice};

/// The messages for a device after `from`, up to and including `to`, the oldest first.
pub async fn pending(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    from: StreamPosition,
    to: StreamPosition,
    limit: i64,
) -> Result<Vec<(StreamPosition, ToDevice)>, Error> {
    let rows = sqlx::query!(
        "SELECT position, sender, event_type, content FROM to_device
         WHERE user_id = $1 AND device_id = $2 AND position > $3 AND position <= $4
         ORDER BY position LIMIT $5",
        user_id.as_str(),
        device_id.as_str(),
        from.get(),
        to.get(),
        limit
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let message = ToDevice {
                user_id: user_id.to_owned(),
                device_id: device_id.to_owned(),
                sender: id(row.sender)?,
                event_type: row.event_type,
                content: row.content.into(),
                transaction: None,
            };
            Ok((StreamPosition(row.position), message))
        })
        .collect()
}

/// Deletes the messages up to a position, which the device has received; returns how many.
pub async fn acknowledge(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    up_to: StreamPosition,
) -> Result<u64, Error> {
    let result = sqlx::query!(
        "DELETE FROM to_device WHERE user_id = $1 AND device_id = $2 AND position <= $3",
        user_id.as_str(),
        device_id.as_str(),
        up_to.get()
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// The devices of these users.
pub async fn recipients(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
) -> Result<Vec<(OwnedUserId, OwnedDeviceId)>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        "SELECT user_id, device_id FROM devices WHERE user_id = ANY($1)
         ORDER BY user_id, device_id",
        &user_ids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| Ok((id(row.user_id)?, row.device_id.into())))
        .collect()
}

/// Takes messages that are to go to other servers out of their table, by their positions; returns those
/// that were in it: the others repeat a request, or were taken before.
///
/// To be called in the transaction that puts them into the queues of those servers.
#[tracing::instrument(name = "storage.to_device.take_outgoing", level = "debug", skip_all)]
pub async fn take_outgoing(
    db: &mut Connection,
    positions: &[StreamPosition],
) -> Result<HashSet<StreamPosition>, Error> {
    let positions: Vec<i64> = positions.iter().map(|position| position.get()).collect();
    let taken = sqlx::query_scalar!(
        "DELETE FROM outgoing_to_device WHERE position = ANY($1) RETURNING position",
        &positions
    )
    .fetch_all(db)
    .await?;
    Ok(taken.into_iter().map(StreamPosition).collect())
}
