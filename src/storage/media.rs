//! Media: metadata of uploaded files and of cached files of other servers, by origin and media id.

pub mod cache;

use ruma::{OwnedUserId, ServerName, UserId};

use crate::{Connection, Error, rows::id};

/// A file's content and its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The SHA-256 of the content, under which it is stored.
    pub sha256: Vec<u8>,
    /// The size in bytes.
    pub size: u64,
    /// The content type, if the uploader declared one.
    pub content_type: Option<String>,
    /// The file name, if the uploader gave one.
    pub filename: Option<String>,
}

/// The state of a media id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// The content is uploaded.
    Uploaded(Content),
    /// The content is not uploaded yet.
    Pending {
        /// The user who may upload it.
        user_id: OwnedUserId,
        /// When the id expires, in milliseconds since the epoch.
        expires_ts: i64,
    },
    /// An administrator has withdrawn the file.
    Quarantined,
}

/// When a file was last served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAccess {
    /// The server that the file was uploaded to.
    pub origin: String,
    /// The media id.
    pub media_id: String,
    /// In milliseconds since the epoch.
    pub ts: i64,
}

/// The state of a media id.
pub async fn find(
    db: &mut Connection,
    origin: &ServerName,
    media_id: &str,
) -> Result<Option<Media>, Error> {
    let row = sqlx::query!(
        "SELECT user_id, quarantined_by, expires_ts, sha256, size, content_type, filename
         FROM media WHERE origin = $1 AND media_id = $2",
        origin.as_str(),
        media_id
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    if row.quarantined_by.is_some() {
        return Ok(Some(Media::Quarantined));
    }
    match (row.sha256.zip(row.size), row.user_id.zip(row.expires_ts)) {
        (Some((sha256, size)), _) => Ok(Some(Media::Uploaded(Content {
            sha256,
            size: size as u64,
            content_type: row.content_type,
            filename: row.filename,
        }))),
        (None, Some((user_id, expires_ts))) => Ok(Some(Media::Pending {
            user_id: id(user_id)?,
            expires_ts,
        })),
        (None, None) => Err(Error::Corrupt(format!(
            "media {media_id} has neither content nor an uploader and an end"
        ))),
    }
}

/// Stores a file under a new id.
pub async fn insert(
    db: &mut Connection,
    origin: &ServerName,
    media_id: &str,
    user_id: Option<&UserId>,
    content: &Content,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO media (origin, media_id, user_id, created_ts, sha256, size, content_type, filename)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        origin.as_str(),
        media_id,
        user_id.map(UserId::as_str),
        now_ms as i64,
        content.sha256,
        content.size as i64,
        content.content_type,
        content.filename
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a user's files take, in bytes.
pub async fn user_bytes(db: &mut Connection, user_id: &UserId) -> Result<u64, Error> {
    let bytes = sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(size), 0)::bigint AS "bytes!" FROM media WHERE user_id = $1 AND sha256 IS NOT NULL"#,
        user_id.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(bytes as u64)
}

/// An id whose content is uploaded later.
#[derive(Clone, Copy, Debug)]
pub struct NewPending<'a> {
    /// The id.
    pub media_id: &'a str,
    /// The user who may upload the content.
    pub user_id: &'a UserId,
    /// Now, in milliseconds since the epoch.
    pub now_ms: u64,
    /// When the id expires, in milliseconds since the epoch.
    pub expires_ts: u64,
}

/// Creates a pending id; `false` when the user has `limit` of them already.
///
/// Concurrent requests may exceed the limit by their number.
pub async fn insert_pending(
    db: &mut Connection,
    origin: &ServerName,
    pending: NewPending<'_>,
    limit: i64,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "WITH expired AS (
            DELETE FROM media WHERE user_id = $3 AND sha256 IS NULL AND expires_ts <= $4
        )
        INSERT INTO media (origin, media_id, user_id, created_ts, expires_ts)
        SELECT $1, $2, $3, $4, $5
        WHERE (SELECT count(*) FROM media WHERE user_id = $3 AND sha256 IS NULL AND expires_ts > $4) < $6",
        origin.as_str(),
        pending.media_id,
        pending.user_id.as_str(),
        pending.now_ms as i64,
        pending.expires_ts as i64,
        limit
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Stores the content of a pending id; `false` when it has content or has expired.
pub async fn complete(
    db: &mut Connection,
    origin: &ServerName,
    media_id: &str,
    user_id: &UserId,
    content: &Content,
    now_ms: u64,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "UPDATE media SET expires_ts = NULL, sha256 = $5, size = $6, content_type = $7, filename = $8
         WHERE origin = $1 AND media_id = $2 AND user_id = $3 AND sha256 IS NULL AND expires_ts > $4",
        origin.as_str(),
        media_id,
        user_id.as_str(),
        now_ms as i64,
        content.sha256,
        content.size as i64,
        content.content_type,
        content.filename
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Withdraws a file, or puts it back if no user is given; `false` if there is none of that id.
pub async fn quarantine(
    db: &mut Connection,
    origin: &ServerName,
    media_id: &str,
    quarantined_by: Option<&UserId>,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "UPDATE media SET quarantined_by = $3 WHERE origin = $1 AND media_id = $2",
        origin.as_str(),
        media_id,
        quarantined_by.map(UserId::as_str)
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Records when files were last served; each file at most once.
pub async fn record_last_access(db: &mut Connection, entries: &[LastAccess]) -> Result<(), Error> {
    let origins: Vec<String> = entries.iter().map(|entry| entry.origin.clone()).collect();
    let media_ids: Vec<String> = entries.iter().map(|entry| entry.media_id.clone()).collect();
    let times: Vec<i64> = entries.iter().map(|entry| entry.ts).collect();
    sqlx::query!(
        "UPDATE media m SET last_access_ts = a.ts
         FROM UNNEST($1::text[], $2::text[], $3::bigint[]) AS a (origin, media_id, ts)
         WHERE m.origin = a.origin AND m.media_id = a.media_id
             AND (m.last_access_ts IS NULL OR m.last_access_ts < a.ts)",
        &origins,
        &media_ids,
        &times
    )
    .execute(db)
    .await?;
    Ok(())
}

/// When a file was last served, in milliseconds since the epoch.
pub async fn last_access(
    db: &mut Connection,
    origin: &ServerName,
    media_id: &str,
) -> Result<Option<i64>, Error> {
    let ts = sqlx::query_scalar!(
        "SELECT last_access_ts FROM media WHERE origin = $1 AND media_id = $2",
        origin.as_str(),
        media_id
    )
    .fetch_optional(db)
    .await?;
    Ok(ts.flatten())
}
