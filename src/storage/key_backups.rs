//! Users' backups of room keys, encrypted by their clients.

use ruma::UserId;

use crate::{Connection, Error};

/// A backup, without its keys.
#[derive(Clone, Debug)]
pub struct KeyBackup {
    /// Its number among the user's backups.
    pub version: i64,
    /// How its keys are encrypted.
    pub algorithm: String,
    /// What the algorithm needs, a JSON object as it was sent.
    pub auth_data: String,
    /// How large it is.
    pub size: BackupSize,
    /// It was deleted; only its number is kept.
    pub is_deleted: bool,
}

/// How many keys a backup has, and how often they were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupSize {
    /// The number of changes.
    pub etag: i64,
    /// The number of keys.
    pub count: i64,
}

/// A key of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUpKey {
    /// The room whose messages it decrypts, as the client names it.
    pub room_id: String,
    /// The Megolm session.
    pub session_id: String,
    /// The JSON object as it was sent.
    pub key: String,
}

/// A key that is to be added, with what decides whether it replaces another of the same session.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key.
    pub key: BackedUpKey,
    /// Whether the client verified the device that the key is from.
    pub is_verified: bool,
    /// The first message that the key can decrypt.
    pub first_message_index: i64,
    /// How often the key was forwarded between devices.
    pub forwarded_count: i64,
}

/// Which keys of a backup: all, those of a room, or that of one session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// The room; all if there is none.
    pub room_id: Option<&'a str>,
    /// The session; all of the room if there is none.
    pub session_id: Option<&'a str>,
}

/// Lets no other transaction work on the user's backups until this one ends.
pub async fn lock(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('key_backups ' || $1, 0))",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds a backup and returns its number, the next one of the user.
pub async fn insert(
    db: &mut Connection,
    user_id: &UserId,
    algorithm: &str,
    auth_data: &str,
) -> Result<i64, Error> {
    let version = sqlx::query_scalar!(
        "INSERT INTO key_backups (user_id, version, algorithm, auth_data)
         SELECT $1, COALESCE(max(version), 0) + 1, $2, $3 FROM key_backups WHERE user_id = $1
         RETURNING version",
        user_id.as_str(),
        algorithm,
        auth_data
    )
    .fetch_one(db)
    .await?;
    Ok(version)
}

/// The user's newest backup that is not deleted.
pub async fn current(db: &mut Connection, user_id: &UserId) -> Result<Option<KeyBackup>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT version, algorithm, auth_data, etag, key_count, is_deleted FROM key_backups
         WHERE user_id = $1 AND NOT is_deleted ORDER BY version DESC LIMIT 1",
        user_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(KeyBackup::from))
}

/// A backup, also one that is deleted.
pub async fn find(
    db: &mut Connection,
    user_id: &UserId,
    version: i64,
) -> Result<Option<KeyBackup>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT version, algorithm, auth_data, etag, key_count, is_deleted FROM key_backups
         WHERE user_id = $1 AND version = $2",
        user_id.as_str(),
        version
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(KeyBackup::from))
}

/// How many backups the user has, and how many keys are in them together.
pub async fn totals(db: &mut Connection, user_id: &UserId) -> Result<(i64, i64), Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "backups!", COALESCE(sum(key_count), 0)::bigint AS "keys!"
         FROM key_backups WHERE user_id = $1 AND NOT is_deleted"#,
        user_id.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok((row.backups, row.keys))
}

/// Replaces what the algorithm of a backup needs.
pub async fn set_auth_data(
    db: &mut Connection,
    user_id: &UserId,
    version: i64,
    auth_data: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE key_backups SET auth_data = $3 WHERE user_id = $1 AND version = $2",
        user_id.as_str(),
        version,
        auth_data
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes a backup with its keys; its number is kept.
pub async fn delete(db: &mut Connection, user_id: &UserId, version: i64) -> Result<(), Error> {
    sqlx::query!(
        "WITH keys AS (DELETE FROM backed_up_keys WHERE user_id = $1 AND version = $2)
         UPDATE key_backups SET is_deleted = true, auth_data = '{}', key_count = 0
         WHERE user_id = $1 AND version = $2",
        user_id.as_str(),
        version
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes all backups of a user.
pub async fn delete_all(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "WITH keys AS (DELETE FROM backed_up_keys WHERE user_id = $1)
         DELETE FROM key_backups WHERE user_id = $1",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds keys to a backup. Of two keys of one session the better one is kept: first that of a verified
/// device, then that which decrypts more, then that which was forwarded less often.
///
/// Spec: client-server, "Server-side key backups".
pub async fn insert_keys(
    db: &mut Connection,
    user_id: &UserId,
    version: i64,
    keys: &[NewKey],
) -> Result<BackupSize, Error> {
    let text = |of: fn(&BackedUpKey) -> &String| -> Vec<String> {
        keys.iter().map(|new| of(&new.key).clone()).collect()
    };
    let verified: Vec<bool> = keys.iter().map(|new| new.is_verified).collect();
    let indexes: Vec<i64> = keys.iter().map(|new| new.first_message_index).collect();
    let forwarded: Vec<i64> = keys.iter().map(|new| new.forwarded_count).collect();
    let size = sqlx::query_as!(
        BackupSize,
        r#"WITH written AS (
             INSERT INTO backed_up_keys AS k (user_id, version, room_id, session_id, is_verified,
                 first_message_index, forwarded_count, key)
             SELECT $1, $2, * FROM UNNEST($3::text[], $4::text[], $5::boolean[], $6::bigint[],
                 $7::bigint[], $8::text[])
             ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE
             SET is_verified = excluded.is_verified, first_message_index = excluded.first_message_index,
                 forwarded_count = excluded.forwarded_count, key = excluded.key
             WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
                 < (NOT k.is_verified, k.first_message_index, k.forwarded_count)
             -- A row that was inserted has no transaction that replaced an earlier one.
             RETURNING k.xmax = 0 AS is_new
         )
         UPDATE key_backups SET
             etag = etag + (EXISTS (SELECT FROM written))::integer,
             key_count = key_count + (SELECT count(*) FROM written WHERE is_new)
         WHERE user_id = $1 AND version = $2
         RETURNING etag, key_count AS count"#,
        user_id.as_str(),
        version,
        &text(|key| &key.room_id),
        &text(|key| &key.session_id),
        &verified,
        &indexes,
        &forwarded,
        &text(|key| &key.key)
    )
    .fetch_one(db)
    .await?;
    Ok(size)
}

/// Keys of a backup, by room.
pub async fn keys(
    db: &mut Connection,
    user_id: &UserId,
    version: i64,
    selection: Selection<'_>,
) -> Result<Vec<BackedUpKey>, Error> {
    let keys = sqlx::query_as!(
        BackedUpKey,
        "SELECT room_id, session_id, key FROM backed_up_keys
         WHERE user_id = $1 AND version = $2 AND ($3::text IS NULL OR room_id = $3)
             AND ($4::text IS NULL OR session_id = $4)
         ORDER BY room_id, session_id",
        user_id.as_str(),
        version,
        selection.room_id,
        selection.session_id
    )
    .fetch_all(db)
    .await?;
    Ok(keys)
}

/// Deletes keys of a backup.
pub async fn delete_keys(
    db: &mut Connection,
    user_id: &UserId,
    version: i64,
    selection: Selection<'_>,
) -> Result<BackupSize, Error> {
    let size = sqlx::query_as!(
        BackupSize,
        r#"WITH deleted AS (
             DELETE FROM backed_up_keys WHERE user_id = $1 AND version = $2
                 AND ($3::text IS NULL OR room_id = $3) AND ($4::text IS NULL OR session_id = $4)
             RETURNING 1
         )
         UPDATE key_backups SET
             etag = etag + (EXISTS (SELECT FROM deleted))::integer,
             key_count = key_count - (SELECT count(*) FROM deleted)
         WHERE user_id = $1 AND version = $2
         RETURNING etag, key_count AS count"#,
        user_id.as_str(),
        version,
        selection.room_id,
        selection.session_id
    )
    .fetch_one(db)
    .await?;
    Ok(size)
}

struct Row {
    version: i64,
    algorithm: String,
    auth_data: String,
    etag: i64,
    key_count: i64,
    is_deleted: bool,
}

impl From<Row> for KeyBackup {
    fn from(row: Row) -> Self {
        Self {
            version: row.version,
            algorithm: row.algorithm,
            auth_data: row.auth_data,
            size: BackupSize {
                etag: row.etag,
                count: row.key_count,
            },
            is_deleted: row.is_deleted,
        }
    }
}
