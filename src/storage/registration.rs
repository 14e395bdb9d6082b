//! What lets strangers create accounts: registration tokens, and nonces for the shared secret.

use crate::{Connection, Error};

/// Stores a registration token; `false` if there is one of that text.
pub async fn insert_token(
    db: &mut Connection,
    token: &str,
    uses_allowed: Option<i64>,
    expires_ts: Option<i64>,
    now: i64,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "INSERT INTO registration_tokens (token, uses_allowed, expires_ts, created_ts)
         VALUES ($1, $2, $3, $4) ON CONFLICT (token) DO NOTHING",
        token,
        uses_allowed,
        expires_ts,
        now
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether an account may be created with the token now.
pub async fn is_token_valid(db: &mut Connection, token: &str, now: i64) -> Result<bool, Error> {
    let valid = sqlx::query_scalar!(
        r#"SELECT EXISTS (
             SELECT FROM registration_tokens
             WHERE token = $1 AND (uses_allowed IS NULL OR completed < uses_allowed)
                 AND (expires_ts IS NULL OR expires_ts > $2)
         ) AS "valid!""#,
        token,
        now
    )
    .fetch_one(db)
    .await?;
    Ok(valid)
}

/// Counts one use of the token; `false` if it may not be used (any more).
pub async fn use_token(db: &mut Connection, token: &str, now: i64) -> Result<bool, Error> {
    let done = sqlx::query!(
        "UPDATE registration_tokens SET completed = completed + 1
         WHERE token = $1 AND (uses_allowed IS NULL OR completed < uses_allowed)
             AND (expires_ts IS NULL OR expires_ts > $2)",
        token,
        now
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores a nonce.
pub async fn insert_nonce(db: &mut Connection, nonce: &str, expires_ts: i64) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO registration_nonces (nonce, expires_ts) VALUES ($1, $2)",
        nonce,
        expires_ts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Consumes a nonce; `false` if it is unknown, used or has expired.
pub async fn consume_nonce(db: &mut Connection, nonce: &str, now: i64) -> Result<bool, Error> {
    let expires_ts = sqlx::query_scalar!(
        "DELETE FROM registration_nonces WHERE nonce = $1 RETURNING expires_ts",
        nonce
    )
    .fetch_optional(db)
    .await?;
    Ok(expires_ts.is_some_and(|expires_ts| expires_ts > now))
}

/// Forgets nonces that have expired.
pub async fn delete_expired_nonces(db: &mut Connection, now: i64) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM registration_nonces WHERE expires_ts <= $1",
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
