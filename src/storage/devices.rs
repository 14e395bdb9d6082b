//! The devices that users log in on.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{Connection, Error};

/// A row of `devices`.
#[derive(Clone, Debug)]
pub struct Device {
    /// Which.
    pub device_id: OwnedDeviceId,
    /// The name that its owner gave it.
    pub display_name: Option<String>,
    /// When it last made a request, in milliseconds since the epoch.
    pub last_seen_ts: Option<i64>,
    /// The address of its last request.
    pub last_seen_ip: Option<String>,
}

/// When and from which address a device last made a request.
#[derive(Clone, Debug)]
pub struct LastSeen {
    /// Whose device.
    pub user_id: OwnedUserId,
    /// Which device.
    pub device_id: OwnedDeviceId,
    /// When, in milliseconds since the epoch.
    pub ts: i64,
    /// From which address.
    pub ip: String,
}

/// Creates a device; `false` if there is one of that id, which keeps its name.
///
/// What was still on its way to an earlier device of that id when it was deleted goes now.
pub async fn insert(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    display_name: Option<&str>,
    now: i64,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "INSERT INTO devices (user_id, device_id, display_name, created_ts) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id, device_id) DO NOTHING",
        user_id.as_str(),
        device_id.as_str(),
        display_name,
        now
    )
    .execute(&mut *db)
    .await?;
    let is_new = done.rows_affected() == 1;
    if is_new {
        delete_leftovers(db, user_id, &[device_id.to_string()]).await?;
    }
    Ok(is_new)
}

/// One device of a user.
pub async fn find(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<Option<Device>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT device_id, display_name, last_seen_ts, last_seen_ip FROM devices
         WHERE user_id = $1 AND device_id = $2",
        user_id.as_str(),
        device_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Device::from))
}

/// All devices of a user, by id.
pub async fn of_user(db: &mut Connection, user_id: &UserId) -> Result<Vec<Device>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT device_id, display_name, last_seen_ts, last_seen_ip FROM devices
         WHERE user_id = $1 ORDER BY device_id",
        user_id.as_str()
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Device::from).collect())
}

/// Whether one of the user's devices was last seen at this address.
pub async fn was_seen_at(
    db: &mut Connection,
    user_id: &UserId,
    address: &str,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM devices WHERE user_id = $1 AND last_seen_ip = $2) AS "found!""#,
        user_id.as_str(),
        address
    )
    .fetch_one(db)
    .await?;
    Ok(found)
}

/// How many devices a user has.
pub async fn count(db: &mut Connection, user_id: &UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM devices WHERE user_id = $1"#,
        user_id.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}

/// Names a device; `false` if there is none of that id.
pub async fn rename(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    display_name: &str,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "UPDATE devices SET display_name = $3 WHERE user_id = $1 AND device_id = $2",
        user_id.as_str(),
        device_id.as_str(),
        display_name
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes devices with their sessions, tokens, keys and queued messages; returns those that existed.
///
/// Sessions and transactions go by their foreign keys. Keys have none: they are cached for remote
/// users, too.
pub async fn delete(
    db: &mut Connection,
    user_id: &UserId,
    device_ids: &[OwnedDeviceId],
) -> Result<Vec<OwnedDeviceId>, Error> {
    let device_ids: Vec<String> = device_ids.iter().map(ToString::to_string).collect();
    let deleted = sqlx::query_scalar!(
        "DELETE FROM devices WHERE user_id = $1 AND device_id = ANY($2) RETURNING device_id",
        user_id.as_str(),
        &device_ids
    )
    .fetch_all(&mut *db)
    .await?;
    // A statement of its own: the first one may have waited for keys that were being uploaded.
    delete_leftovers(db, user_id, &device_ids).await?;
    Ok(deleted.into_iter().map(OwnedDeviceId::from).collect())
}

/// Deletes what is kept for devices without a reference to them: the committer locks no devices
/// while it holds the stream's lock.
async fn delete_leftovers(
    db: &mut Connection,
    user_id: &UserId,
    device_ids: &[String],
) -> Result<(), Error> {
    sqlx::query!(
        "WITH messages AS (
             DELETE FROM to_device WHERE user_id = $1 AND device_id = ANY($2)
         ), message_transactions AS (
             DELETE FROM to_device_transactions WHERE user_id = $1 AND device_id = ANY($2)
         ), event_transactions AS (
             DELETE FROM event_transactions WHERE user_id = $1 AND device_id = ANY($2)
         ), keys AS (
             DELETE FROM one_time_keys WHERE user_id = $1 AND device_id = ANY($2)
         ), last_keys AS (
             DELETE FROM fallback_keys WHERE user_id = $1 AND device_id = ANY($2)
         )
         DELETE FROM device_keys WHERE user_id = $1 AND device_id = ANY($2)",
        user_id.as_str(),
        device_ids
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records the last requests of devices; each device at most once.
pub async fn record_last_seen(db: &mut Connection, entries: &[LastSeen]) -> Result<(), Error> {
    let users: Vec<String> = entries
        .iter()
        .map(|entry| entry.user_id.to_string())
        .collect();
    let devices: Vec<String> = entries
        .iter()
        .map(|entry| entry.device_id.to_string())
        .collect();
    let times: Vec<i64> = entries.iter().map(|entry| entry.ts).collect();
    let addresses: Vec<String> = entries.iter().map(|entry| entry.ip.clone()).collect();
    sqlx::query!(
        "UPDATE devices d SET last_seen_ts = s.ts, last_seen_ip = s.ip
         FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::text[]) AS s (user_id, device_id, ts, ip)
         WHERE d.user_id = s.user_id AND d.device_id = s.device_id
             AND (d.last_seen_ts IS NULL OR d.last_seen_ts < s.ts)",
        &users,
        &devices,
        &times,
        &addresses
    )
    .execute(db)
    .await?;
    Ok(())
}

struct Row {
    device_id: String,
    display_name: Option<String>,
    last_seen_ts: Option<i64>,
    last_seen_ip: Option<String>,
}

impl From<Row> for Device {
    fn from(row: Row) -> Self {
        Self {
            device_id: row.device_id.into(),
            display_name: row.display_name,
            last_seen_ts: row.last_seen_ts,
            last_seen_ip: row.last_seen_ip,
        }
    }
}
