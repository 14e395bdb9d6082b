//! Tokens with which users prove to others who they are.

use ruma::{OwnedUserId, UserId};

use crate::{Connection, Error, rows::id, sessions::TokenHash};

/// Stores a token.
pub async fn insert(
    db: &mut Connection,
    hash: &TokenHash,
    user_id: &UserId,
    expires_ts: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO openid_tokens (token_hash, user_id, expires_ts) VALUES ($1, $2, $3)",
        hash.as_slice(),
        user_id.as_str(),
        expires_ts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The user of a token, unless it has expired or the account is closed.
pub async fn user(
    db: &mut Connection,
    hash: &TokenHash,
    now: i64,
) -> Result<Option<OwnedUserId>, Error> {
    let user_id = sqlx::query_scalar!(
        "SELECT t.user_id FROM openid_tokens t JOIN users u USING (user_id)
         WHERE t.token_hash = $1 AND t.expires_ts > $2 AND u.deactivated_ts IS NULL",
        hash.as_slice(),
        now
    )
    .fetch_optional(db)
    .await?;
    user_id.map(id).transpose()
}

/// Forgets tokens that have expired.
pub async fn delete_expired(db: &mut Connection, now: i64) -> Result<(), Error> {
    sqlx::query!("DELETE FROM openid_tokens WHERE expires_ts <= $1", now)
        .execute(db)
        .await?;
    Ok(())
}
