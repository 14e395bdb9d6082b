//! Filters that clients store for `/sync` and `/messages`.

use ruma::UserId;

use crate::{Connection, Error};

/// Stores a filter and returns its number; the same filter keeps its number.
pub async fn insert(
    db: &mut Connection,
    user_id: &UserId,
    digest: &[u8; 32],
    content: &str,
) -> Result<i64, Error> {
    let filter_id = sqlx::query_scalar!(
        "INSERT INTO filters (user_id, digest, content) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, digest) DO UPDATE SET digest = excluded.digest
         RETURNING filter_id",
        user_id.as_str(),
        digest.as_slice(),
        content
    )
    .fetch_one(db)
    .await?;
    Ok(filter_id)
}

/// The text of a user's filter.
pub async fn find(
    db: &mut Connection,
    user_id: &UserId,
    filter_id: i64,
) -> Result<Option<String>, Error> {
    let content = sqlx::query_scalar!(
        "SELECT content FROM filters WHERE user_id = $1 AND filter_id = $2",
        user_id.as_str(),
        filter_id
    )
    .fetch_optional(db)
    .await?;
    Ok(content)
}

/// How many filters a user has stored.
pub async fn count(db: &mut Connection, user_id: &UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM filters WHERE user_id = $1"#,
        user_id.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}
