//! Copies of other servers' files.

use ruma::ServerName;

use crate::{Connection, Error, media::Content};

/// A copy of another server's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedFile {
    /// The server that the file was uploaded to.
    pub origin: String,
    /// The media id.
    pub media_id: String,
    /// When it was fetched, in milliseconds since the epoch.
    pub created_ts: i64,
    /// What it takes with its thumbnails, in bytes.
    pub bytes: u64,
}

/// Stores a copy, in place of an earlier one.
pub async fn insert(
    db: &mut Connection,
    origin: &ServerName,
    media_id: &str,
    content: &Content,
    now_ms: u64,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO media (origin, media_id, created_ts, sha256, size, content_type, filename, cached_bytes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $5)
         ON CONFLICT (origin, media_id) DO UPDATE
         SET created_ts = excluded.created_ts, sha256 = excluded.sha256, size = excluded.size,
             content_type = excluded.content_type, filename = excluded.filename,
             cached_bytes = excluded.cached_bytes",
        origin.as_str(),
        media_id,
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

/// Adds the size of a thumbnail to what a copy takes; `false` if there is no copy.
pub async fn add_bytes(
    db: &mut Connection,
    origin: &ServerName,
    media_id: &str,
    bytes: u64,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "UPDATE media SET cached_bytes = cached_bytes + $3
         WHERE origin = $1 AND media_id = $2 AND cached_bytes IS NOT NULL",
        origin.as_str(),
        media_id,
        bytes as i64
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// What all copies take, in bytes.
pub async fn total_bytes(db: &mut Connection) -> Result<u64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(cached_bytes), 0)::bigint AS "total!" FROM media WHERE cached_bytes IS NOT NULL"#
    )
    .fetch_one(db)
    .await?;
    Ok(total as u64)
}

/// The copies that were not served for the longest time, at most `limit`, and none that was served since `until_ts`.
pub async fn least_recently_used(
    db: &mut Connection,
    until_ts: u64,
    limit: i64,
) -> Result<Vec<CachedFile>, Error> {
    let rows = sqlx::query!(
        r#"SELECT origin, media_id, created_ts, cached_bytes AS "bytes!"
         FROM media WHERE cached_bytes IS NOT NULL AND COALESCE(last_access_ts, created_ts) <= $1
         ORDER BY COALESCE(last_access_ts, created_ts) LIMIT $2"#,
        until_ts as i64,
        limit
    )
    .fetch_all(db)
    .await?;
    let files = rows.into_iter().map(|row| CachedFile {
        origin: row.origin,
        media_id: row.media_id,
        created_ts: row.created_ts,
        bytes: row.bytes as u64,
    });
    Ok(files.collect())
}

/// Forgets copies, but for those that were fetched anew in the meantime and those that are withdrawn.
pub async fn delete(db: &mut Connection, files: &[CachedFile]) -> Result<(), Error> {
    let origins: Vec<String> = files.iter().map(|file| file.origin.clone()).collect();
    let media_ids: Vec<String> = files.iter().map(|file| file.media_id.clone()).collect();
    let created: Vec<i64> = files.iter().map(|file| file.created_ts).collect();
    sqlx::query!(
        "WITH removed AS (
            SELECT * FROM UNNEST($1::text[], $2::text[], $3::bigint[]) AS r (origin, media_id, created_ts)
        ), withdrawn AS (
            UPDATE media m SET cached_bytes = NULL FROM removed r
            WHERE m.origin = r.origin AND m.media_id = r.media_id AND m.quarantined_by IS NOT NULL
        )
        DELETE FROM media m USING removed r
        WHERE m.origin = r.origin AND m.media_id = r.media_id AND m.created_ts = r.created_ts
            AND m.quarantined_by IS NULL",
        &origins,
        &media_ids,
        &created
    )
    .execute(db)
    .await?;
    Ok(())
}
