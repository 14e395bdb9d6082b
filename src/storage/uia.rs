//! User-interactive authentication under way.

use crate::{Connection, Error};

/// A row of `uia_sessions`.
#[derive(Clone, Debug)]
pub struct UiaSession {
    /// The identifier that the client repeats.
    pub session_id: String,
    /// What is being authenticated.
    pub fingerprint: Vec<u8>,
    /// The stages completed so far, in order.
    pub completed: Vec<String>,
    /// The registration token that was presented.
    pub registration_token: Option<String>,
}

/// Stores a session.
pub async fn insert(
    db: &mut Connection,
    session: &UiaSession,
    expires_ts: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO uia_sessions (session_id, fingerprint, completed, registration_token, expires_ts)
         VALUES ($1, $2, $3, $4, $5)",
        session.session_id,
        session.fingerprint,
        &session.completed,
        session.registration_token,
        expires_ts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The session of that id, unless it has expired.
pub async fn find(
    db: &mut Connection,
    session_id: &str,
    now: i64,
) -> Result<Option<UiaSession>, Error> {
    let session = sqlx::query_as!(
        UiaSession,
        "SELECT session_id, fingerprint, completed, registration_token FROM uia_sessions
         WHERE session_id = $1 AND expires_ts > $2",
        session_id,
        now
    )
    .fetch_optional(db)
    .await?;
    Ok(session)
}

/// Notes that a stage is complete, once.
pub async fn complete(
    db: &mut Connection,
    session_id: &str,
    stage: &str,
    registration_token: Option<&str>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE uia_sessions SET completed = array_append(completed, $2),
             registration_token = COALESCE($3, registration_token)
         WHERE session_id = $1 AND NOT $2 = ANY(completed)",
        session_id,
        stage,
        registration_token
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a session; `false` if another request has done so.
pub async fn delete(db: &mut Connection, session_id: &str) -> Result<bool, Error> {
    let done = sqlx::query!("DELETE FROM uia_sessions WHERE session_id = $1", session_id)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets sessions that have expired.
pub async fn delete_expired(db: &mut Connection, now: i64) -> Result<(), Error> {
    sqlx::query!("DELETE FROM uia_sessions WHERE expires_ts <= $1", now)
        .execute(db)
        .await?;
    Ok(())
}
