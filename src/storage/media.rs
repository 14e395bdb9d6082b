//! Uploaded files: what is known of them, and under which hash their content is stored.

use ruma::UserId;

use crate::{Connection, Error};

/// A file's content and how its uploader described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The SHA-256 of the content, under which it is stored.
    pub sha256: Vec<u8>,
    /// How many bytes.
    pub size: u64,
    /// The media type, if the uploader named one.
    pub content_type: Option<String>,
    /// The file name, if the uploader named one.
    pub filename: Option<String>,
}

/// What there is under a media id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// A file.
    Uploaded(Content),
    /// The id was given out; the content may come until it expires.
    Pending {
        /// Who may upload.
        user_id: String,
        /// Until when, in milliseconds since the epoch.
        expires_ts: i64,
    },
}

/// What there is under the id.
pub async fn find(db: &mut Connection, media_id: &str) -> Result<Option<Media>, Error> {
    let row = sqlx::query!(
        "SELECT user_id, expires_ts, sha256, size, content_type, filename
         FROM media WHERE media_id = $1",
        media_id
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| match (row.sha256.zip(row.size), row.expires_ts) {
        (Some((sha256, size)), _) => Ok(Media::Uploaded(Content {
            sha256,
            size: size as u64,
            content_type: row.content_type,
            filename: row.filename,
        })),
        (None, Some(expires_ts)) => Ok(Media::Pending {
            user_id: row.user_id,
            expires_ts,
        }),
        (None, None) => Err(Error::Corrupt(format!(
            "media {media_id} has neither content nor end"
        ))),
    })
    .transpose()
}

/// Stores a file under a new id.
pub async fn insert(
    db: &mut Connection,
    media_id: &str,
    user_id: &UserId,
    content: &Content,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO media (media_id, user_id, created_ts, sha256, size, content_type, filename)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
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
    Ok(())
}

/// Gives out an id whose content comes later; `false` when the user has `limit` such ids already.
///
/// Requests at the same time may exceed the limit by their number.
pub async fn insert_pending(
    db: &mut Connection,
    media_id: &str,
    user_id: &UserId,
    now_ms: u64,
    expires_ts: u64,
    limit: i64,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "WITH expired AS (
            DELETE FROM media WHERE user_id = $2 AND sha256 IS NULL AND expires_ts <= $3
        )
        INSERT INTO media (media_id, user_id, created_ts, expires_ts)
        SELECT $1, $2, $3, $4
        WHERE (SELECT count(*) FROM media WHERE user_id = $2 AND sha256 IS NULL AND expires_ts > $3) < $5",
        media_id,
        user_id.as_str(),
        now_ms as i64,
        expires_ts as i64,
        limit
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Stores the content of a pending id; `false` when it has content or has expired.
pub async fn complete(
    db: &mut Connection,
    media_id: &str,
    user_id: &UserId,
    content: &Content,
    now_ms: u64,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "UPDATE media SET expires_ts = NULL, sha256 = $4, size = $5, content_type = $6, filename = $7
         WHERE media_id = $1 AND user_id = $2 AND sha256 IS NULL AND expires_ts > $3",
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
