//! What other servers were last told of the devices and cross-signing keys of this server's users.

use std::collections::BTreeMap;

use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use crate::{Connection, Error, rows::id};

/// What other servers were last told of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishedList {
    /// The number of the last update; 0 before the first.
    pub stream_id: i64,
    /// The content of the last `m.device_list_update`; empty before the first.
    pub last_update: String,
    /// The content of the last `m.signing_key_update`; empty before the first.
    pub signing_keys: String,
}

/// A device that is not what other servers were last told of it.
#[derive(Clone, Debug)]
pub struct ChangedDevice {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// What it is now; none if it is gone.
    pub current: Option<CurrentDevice>,
}

/// A device as it is now.
#[derive(Clone, Debug)]
pub struct CurrentDevice {
    /// Its name, if names are told.
    pub display_name: Option<String>,
    /// Its identity keys, a JSON object without `unsigned`.
    pub keys: Option<String>,
    digest: Vec<u8>,
}

/// What other servers were last told of these users. To be called in the transaction that changes it.
pub async fn find(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
) -> Result<BTreeMap<OwnedUserId, PublishedList>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        "SELECT user_id, stream_id, last_update, signing_keys FROM published_device_lists WHERE user_id = ANY($1)",
        &user_ids
    )
    .fetch_all(db)
    .await?;
    let lists = rows.into_iter().map(|row| {
        let list = PublishedList {
            stream_id: row.stream_id,
            last_update: row.last_update,
            signing_keys: row.signing_keys,
        };
        Ok((id(row.user_id)?, list))
    });
    lists.collect()
}

/// The number of the last update of a user's devices that other servers were told; 0 before the first.
pub async fn stream_id(db: &mut Connection, user_id: &UserId) -> Result<i64, Error> {
    let stream_id = sqlx::query_scalar!(
        "SELECT stream_id FROM published_device_lists WHERE user_id = $1",
        user_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(stream_id.unwrap_or_default())
}

/// The devices of these users that are not what other servers were last told of them.
#[tracing::instrument(
    name = "storage.published_device_lists.changed",
    level = "debug",
    skip_all
)]
pub async fn changed_devices(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
    with_names: bool,
) -> Result<Vec<ChangedDevice>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        r#"SELECT COALESCE(c.user_id, p.user_id) AS "user_id!", COALESCE(c.device_id, p.device_id) AS "device_id!",
            c.display_name AS "display_name?", c.keys AS "keys?", c.digest AS "digest?"
         FROM (
            SELECT n.user_id, n.device_id, n.display_name, n.keys, sha256(convert_to(ROW(n.display_name, n.keys)::text, 'UTF8')) AS digest
            FROM (
                SELECT d.user_id, d.device_id, CASE WHEN $2 THEN d.display_name END AS display_name, k.keys
                FROM devices d LEFT JOIN device_keys k ON k.user_id = d.user_id AND k.device_id = d.device_id
                WHERE d.user_id = ANY($1)
            ) AS n
         ) AS c
         FULL JOIN (SELECT * FROM published_devices WHERE user_id = ANY($1)) AS p
            ON p.user_id = c.user_id AND p.device_id = c.device_id
         WHERE c.digest IS DISTINCT FROM p.digest
         ORDER BY 1, 2"#,
        &user_ids,
        with_names
    )
    .fetch_all(db)
    .await?;
    let devices = rows.into_iter().map(|row| {
        Ok(ChangedDevice {
            user_id: id(row.user_id)?,
            device_id: row.device_id.into(),
            current: row.digest.map(|digest| CurrentDevice {
                display_name: row.display_name,
                keys: row.keys,
                digest,
            }),
        })
    });
    devices.collect()
}

/// The time by the clock of the database, in milliseconds since the epoch.
pub async fn now_ms(db: &mut Connection) -> Result<i64, Error> {
    let now = sqlx::query_scalar!(
        r#"SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS "now!""#
    )
    .fetch_one(db)
    .await?;
    Ok(now)
}

/// Keeps what other servers are told now.
pub async fn replace(
    db: &mut Connection,
    lists: &BTreeMap<OwnedUserId, PublishedList>,
    devices: &[ChangedDevice],
) -> Result<(), Error> {
    let user_ids: Vec<String> = lists.keys().map(ToString::to_string).collect();
    let stream_ids: Vec<i64> = lists.values().map(|list| list.stream_id).collect();
    let updates: Vec<String> = lists
        .values()
        .map(|list| list.last_update.clone())
        .collect();
    let keys: Vec<String> = lists
        .values()
        .map(|list| list.signing_keys.clone())
        .collect();
    sqlx::query!(
        "INSERT INTO published_device_lists (user_id, stream_id, last_update, signing_keys)
         SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::text[])
         ON CONFLICT (user_id) DO UPDATE SET stream_id = excluded.stream_id, last_update = excluded.last_update,
            signing_keys = excluded.signing_keys",
        &user_ids,
        &stream_ids,
        &updates,
        &keys
    )
    .execute(&mut *db)
    .await?;
    let user_ids: Vec<String> = devices
        .iter()
        .map(|device| device.user_id.to_string())
        .collect();
    let device_ids: Vec<String> = devices
        .iter()
        .map(|device| device.device_id.to_string())
        .collect();
    let digests: Vec<Option<Vec<u8>>> = devices
        .iter()
        .map(|device| Some(device.current.as_ref()?.digest.clone()))
        .collect();
    sqlx::query!(
        "WITH gone AS (
            DELETE FROM published_devices p USING UNNEST($1::text[], $2::text[], $3::bytea[]) AS d (user_id, device_id, digest)
            WHERE p.user_id = d.user_id AND p.device_id = d.device_id AND d.digest IS NULL
         )
         INSERT INTO published_devices (user_id, device_id, digest)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::bytea[]) AS d (user_id, device_id, digest) WHERE digest IS NOT NULL
         ON CONFLICT (user_id, device_id) DO UPDATE SET digest = excluded.digest",
        &user_ids,
        &device_ids,
        &digests as &[Option<Vec<u8>>]
    )
    .execute(db)
    .await?;
    Ok(())
}
