//! What clients of sliding sync have been sent on each of their connections.
//!
//! A connection has a few versions of that: the one that its client has acknowledged, and those of
//! responses of which it is not known whether they arrived. Versions never change.

use std::time::Duration;

use ruma::{DeviceId, UserId};

use crate::{Connection, Error, leases::milliseconds};

/// Which connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionKey<'a> {
    /// Whose.
    pub user_id: &'a UserId,
    /// Of which device.
    pub device_id: &'a DeviceId,
    /// The client's name for it.
    pub conn_id: &'a str,
}

/// A new version of a connection.
#[derive(Clone, Copy, Debug)]
pub struct NewVersion<'a> {
    /// The version that the client has acknowledged; 0 if there is none. Earlier ones are deleted.
    pub acknowledged: i64,
    /// What has been sent.
    pub content: &'a str,
    /// How many connections the device may have; those whose last version is the oldest are deleted.
    pub max_connections: i64,
}

/// Inserts a version, and returns its number; none if the device does not exist any more.
///
/// One statement. Numbers grow.
#[tracing::instrument(name = "storage.sync_connections.insert", level = "debug", skip_all)]
pub async fn insert(
    db: &mut Connection,
    connection: ConnectionKey<'_>,
    new: NewVersion<'_>,
) -> Result<Option<i64>, Error> {
    // Two versions are kept besides the acknowledged one: a response that was given up by its client may
    // be written after the one that the client has received.
    let version = sqlx::query_scalar!(
        r#"WITH superseded AS (
            DELETE FROM sync_connections s
            WHERE s.user_id = $1 AND s.device_id = $2 AND s.conn_id = $3 AND s.version <> $4
                AND s.version NOT IN (
                    SELECT k.version FROM sync_connections k
                    WHERE k.user_id = $1 AND k.device_id = $2 AND k.conn_id = $3 AND k.version > $4
                    ORDER BY k.version DESC LIMIT 2)
        ), excess AS (
            DELETE FROM sync_connections s
            WHERE s.user_id = $1 AND s.device_id = $2 AND s.conn_id IN (
                SELECT o.conn_id FROM sync_connections o
                WHERE o.user_id = $1 AND o.device_id = $2 AND o.conn_id <> $3
                GROUP BY o.conn_id ORDER BY max(o.version) DESC OFFSET $6 - 1::bigint)
        )
        INSERT INTO sync_connections (user_id, device_id, conn_id, content)
        SELECT d.user_id, d.device_id, $3, $5::text FROM devices d WHERE d.user_id = $1 AND d.device_id = $2
        RETURNING version"#,
        connection.user_id.as_str(),
        connection.device_id.as_str(),
        connection.conn_id,
        new.acknowledged,
        new.content,
        new.max_connections
    )
    .fetch_optional(db)
    .await?;
    Ok(version)
}

/// What had been sent as of a version, if it is known, and whether it was used within `recently`.
pub async fn find(
    db: &mut Connection,
    connection: ConnectionKey<'_>,
    version: i64,
    recently: Duration,
) -> Result<Option<(String, bool)>, Error> {
    let row = sqlx::query!(
        r#"SELECT content, used_at > clock_timestamp() - $5::bigint * interval '1 millisecond' AS "is_recent!"
         FROM sync_connections
         WHERE user_id = $1 AND device_id = $2 AND conn_id = $3 AND version = $4"#,
        connection.user_id.as_str(),
        connection.device_id.as_str(),
        connection.conn_id,
        version,
        milliseconds(recently)
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.content, row.is_recent)))
}

/// Records that a version is still used.
pub async fn record_use(db: &mut Connection, version: i64) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE sync_connections SET used_at = clock_timestamp() WHERE version = $1",
        version
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes versions that were not used for some time; returns how many.
pub async fn delete_unused(db: &mut Connection, time: Duration) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "DELETE FROM sync_connections
         WHERE used_at < clock_timestamp() - $1::bigint * interval '1 millisecond'",
        milliseconds(time)
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
