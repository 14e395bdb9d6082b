//! The identity keys of devices.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{Connection, Error, rows::id};

/// The identity keys of a device.
#[derive(Clone, Debug)]
pub struct DeviceKeys {
    /// The device.
    pub device_id: OwnedDeviceId,
    /// The keys as they were signed, a JSON object without `unsigned`.
    pub keys: String,
    /// What the user calls the device.
    pub display_name: Option<String>,
}

/// The keys of one device.
pub async fn find(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<Option<String>, Error> {
    let keys = sqlx::query_scalar!(
        "SELECT keys FROM device_keys WHERE user_id = $1 AND device_id = $2",
        user_id.as_str(),
        device_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(keys)
}

/// The keys of one device, locked until the transaction ends.
pub async fn find_for_update(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<Option<String>, Error> {
    let keys = sqlx::query_scalar!(
        "SELECT keys FROM device_keys WHERE user_id = $1 AND device_id = $2 FOR NO KEY UPDATE",
        user_id.as_str(),
        device_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(keys)
}

/// Puts the keys of a device in the place of those that it had.
pub async fn replace(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    keys: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO device_keys (user_id, device_id, keys) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys",
        user_id.as_str(),
        device_id.as_str(),
        keys
    )
    .execute(db)
    .await?;
    Ok(())
}

/// For each of these users that has an account here or whose devices are cached and up to date, the
/// user and one of the devices with keys; a user without any is listed once without a device.
#[tracing::instrument(name = "storage.device_keys.of_users", level = "debug", skip_all)]
pub async fn of_users(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
) -> Result<Vec<(OwnedUserId, Option<DeviceKeys>)>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        r#"SELECT u.user_id AS "user_id!", k.device_id AS "device_id?", k.keys AS "keys?", d.display_name AS "display_name?"
         FROM (
            SELECT user_id FROM users WHERE user_id = ANY($1)
            UNION ALL
            SELECT user_id FROM remote_device_lists WHERE user_id = ANY($1) AND NOT is_stale
         ) AS u
         LEFT JOIN device_keys k ON k.user_id = u.user_id
         LEFT JOIN devices d ON d.user_id = k.user_id AND d.device_id = k.device_id"#,
        &user_ids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let keys = row
                .device_id
                .zip(row.keys)
                .map(|(device_id, keys)| DeviceKeys {
                    device_id: device_id.into(),
                    keys,
                    display_name: row.display_name,
                });
            Ok((id(row.user_id)?, keys))
        })
        .collect()
}

/// Whether the user has a device of this name, with or without keys.
pub async fn is_device(
    db: &mut Connection,
    user_id: &UserId,
    names: &[String],
) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM devices WHERE user_id = $1 AND device_id = ANY($2)) AS "found!""#,
        user_id.as_str(),
        names
    )
    .fetch_one(db)
    .await?;
    Ok(found)
}
