//! Logins and their tokens, which are known by their hashes only.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{Connection, Error, rows::id};

/// The SHA-256 hash of a token.
pub type TokenHash = [u8; 32];

/// The session of an access token.
#[derive(Clone, Debug)]
pub struct Login {
    /// The session.
    pub session_nid: i64,
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// Whether the user administers this server.
    pub is_admin: bool,
    /// Whether the user is a guest.
    pub is_guest: bool,
    /// When the token expires, in milliseconds since the epoch.
    pub expires_ts: Option<i64>,
    /// The token's generation within the session.
    pub generation: i64,
    /// Whether tokens of older generations still exist.
    pub has_older_generations: bool,
}

/// What a refresh token stands for.
#[derive(Clone, Copy, Debug)]
pub struct RefreshToken {
    /// The session.
    pub session_nid: i64,
    /// The token's generation within the session.
    pub generation: i64,
}

/// A token to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewToken {
    /// Its hash.
    pub hash: TokenHash,
    /// Whether it is a refresh token.
    pub is_refresh: bool,
    /// Its generation within the session.
    pub generation: i64,
    /// When it expires, in milliseconds since the epoch.
    pub expires_ts: Option<i64>,
}

/// Begins a session on a device, and ends the one that was there; returns its number and the
/// hashes of the tokens that are no longer valid.
pub async fn replace(
    db: &mut Connection,
    user_id: &UserId,
    device_id: &DeviceId,
    now: i64,
) -> Result<(i64, Vec<TokenHash>), Error> {
    let ended = sqlx::query_scalar!(
        "SELECT t.token_hash FROM session_tokens t JOIN sessions s USING (session_nid)
         WHERE s.user_id = $1 AND s.device_id = $2",
        user_id.as_str(),
        device_id.as_str()
    )
    .fetch_all(&mut *db)
    .await?;
    sqlx::query!(
        "DELETE FROM sessions WHERE user_id = $1 AND device_id = $2",
        user_id.as_str(),
        device_id.as_str()
    )
    .execute(&mut *db)
    .await?;
    let session_nid = sqlx::query_scalar!(
        "INSERT INTO sessions (user_id, device_id, created_ts) VALUES ($1, $2, $3)
         RETURNING session_nid",
        user_id.as_str(),
        device_id.as_str(),
        now
    )
    .fetch_one(db)
    .await?;
    Ok((session_nid, hashes(ended)?))
}

/// Stores the tokens of a session.
pub async fn insert_tokens(
    db: &mut Connection,
    session_nid: i64,
    tokens: &[NewToken],
) -> Result<(), Error> {
    let hashes: Vec<&[u8]> = tokens.iter().map(|token| token.hash.as_slice()).collect();
    let refresh: Vec<bool> = tokens.iter().map(|token| token.is_refresh).collect();
    let generations: Vec<i64> = tokens.iter().map(|token| token.generation).collect();
    let expiries: Vec<Option<i64>> = tokens.iter().map(|token| token.expires_ts).collect();
    sqlx::query!(
        "INSERT INTO session_tokens (session_nid, token_hash, is_refresh, generation, expires_ts)
         SELECT $1, r.token_hash, r.is_refresh, r.generation, r.expires_ts
         FROM UNNEST($2::bytea[], $3::boolean[], $4::bigint[], $5::bigint[])
             AS r (token_hash, is_refresh, generation, expires_ts)",
        session_nid,
        &hashes as &[&[u8]],
        &refresh,
        &generations,
        &expiries as &[Option<i64>]
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What the access token of that hash stands for, expired or not.
pub async fn find(db: &mut Connection, hash: &TokenHash) -> Result<Option<Login>, Error> {
    let row = sqlx::query!(
        r#"SELECT s.session_nid, s.user_id, s.device_id, u.is_admin, u.is_guest, t.expires_ts, t.generation,
             EXISTS (SELECT FROM session_tokens o WHERE o.session_nid = t.session_nid
                 AND o.generation < t.generation) AS "has_older_generations!"
         FROM session_tokens t JOIN sessions s USING (session_nid) JOIN users u USING (user_id)
         WHERE t.token_hash = $1 AND NOT t.is_refresh"#,
        hash.as_slice()
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Login {
            session_nid: row.session_nid,
            user_id: id(row.user_id)?,
            device_id: row.device_id.into(),
            is_admin: row.is_admin,
            is_guest: row.is_guest,
            expires_ts: row.expires_ts,
            generation: row.generation,
            has_older_generations: row.has_older_generations,
        })
    })
    .transpose()
}

/// What the refresh token of that hash stands for; its session is held until the transaction ends.
pub async fn find_refresh_token(
    db: &mut Connection,
    hash: &TokenHash,
) -> Result<Option<RefreshToken>, Error> {
    let row = sqlx::query_as!(
        RefreshToken,
        "SELECT s.session_nid, t.generation
         FROM session_tokens t JOIN sessions s USING (session_nid)
         WHERE t.token_hash = $1 AND t.is_refresh FOR UPDATE OF s",
        hash.as_slice()
    )
    .fetch_optional(db)
    .await?;
    Ok(row)
}

/// Deletes the tokens of other generations; returns their hashes.
pub async fn delete_other_generations(
    db: &mut Connection,
    session_nid: i64,
    generation: i64,
) -> Result<Vec<TokenHash>, Error> {
    let ended = sqlx::query_scalar!(
        "DELETE FROM session_tokens WHERE session_nid = $1 AND generation <> $2 RETURNING token_hash",
        session_nid,
        generation
    )
    .fetch_all(db)
    .await?;
    hashes(ended)
}

/// Deletes the tokens of older generations; returns their hashes.
pub async fn delete_older_generations(
    db: &mut Connection,
    session_nid: i64,
    generation: i64,
) -> Result<Vec<TokenHash>, Error> {
    let ended = sqlx::query_scalar!(
        "DELETE FROM session_tokens WHERE session_nid = $1 AND generation < $2 RETURNING token_hash",
        session_nid,
        generation
    )
    .fetch_all(db)
    .await?;
    hashes(ended)
}

/// The hashes of all tokens of a user's devices.
pub async fn token_hashes(
    db: &mut Connection,
    user_id: &UserId,
    device_ids: &[OwnedDeviceId],
) -> Result<Vec<TokenHash>, Error> {
    let device_ids: Vec<String> = device_ids.iter().map(ToString::to_string).collect();
    let found = sqlx::query_scalar!(
        "SELECT t.token_hash FROM session_tokens t JOIN sessions s USING (session_nid)
         WHERE s.user_id = $1 AND s.device_id = ANY($2)",
        user_id.as_str(),
        &device_ids
    )
    .fetch_all(db)
    .await?;
    hashes(found)
}

/// Stores a token for `m.login.token`.
pub async fn insert_login_token(
    db: &mut Connection,
    hash: &TokenHash,
    user_id: &UserId,
    expires_ts: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO login_tokens (token_hash, user_id, expires_ts) VALUES ($1, $2, $3)",
        hash.as_slice(),
        user_id.as_str(),
        expires_ts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Consumes a token for `m.login.token`; returns its user unless it is unknown or has expired.
pub async fn consume_login_token(
    db: &mut Connection,
    hash: &TokenHash,
    now: i64,
) -> Result<Option<OwnedUserId>, Error> {
    let row = sqlx::query!(
        "DELETE FROM login_tokens WHERE token_hash = $1 RETURNING user_id, expires_ts",
        hash.as_slice()
    )
    .fetch_optional(db)
    .await?;
    row.filter(|row| row.expires_ts > now)
        .map(|row| id(row.user_id))
        .transpose()
}

/// Forgets a user's tokens for `m.login.token`.
pub async fn delete_login_tokens(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM login_tokens WHERE user_id = $1",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets tokens for `m.login.token` that have expired.
pub async fn delete_expired_login_tokens(db: &mut Connection, now: i64) -> Result<(), Error> {
    sqlx::query!("DELETE FROM login_tokens WHERE expires_ts <= $1", now)
        .execute(db)
        .await?;
    Ok(())
}

fn hashes(rows: Vec<Vec<u8>>) -> Result<Vec<TokenHash>, Error> {
    rows.into_iter()
        .map(|row| {
            TokenHash::try_from(row)
                .map_err(|_| Error::Corrupt("A token hash of another length".to_owned()))
        })
        .collect()
}
