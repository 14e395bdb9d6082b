//! Accounts.

use ruma::{OwnedUserId, UserId};

use crate::{Connection, Error, rows::id};

/// A row of `users`.
#[derive(Clone, Debug)]
pub struct User {
    /// Who.
    pub user_id: OwnedUserId,
    /// The argon2 hash of the password; none if there is no password to log in with.
    pub password_hash: Option<String>,
    /// Whether the user administers this server.
    pub is_admin: bool,
    /// When the account was closed, in milliseconds since the epoch.
    pub deactivated_ts: Option<i64>,
}

struct Row {
    user_id: String,
    password_hash: Option<String>,
    is_admin: bool,
    deactivated_ts: Option<i64>,
}

impl TryFrom<Row> for User {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            user_id: id(row.user_id)?,
            password_hash: row.password_hash,
            is_admin: row.is_admin,
            deactivated_ts: row.deactivated_ts,
        })
    }
}

/// A new account.
#[derive(Clone, Copy, Debug)]
pub struct NewUser<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The password's hash; none for a user who cannot log in with a password.
    pub password_hash: Option<&'a str>,
    /// Whether the user administers this server.
    pub is_admin: bool,
    /// When the account is created.
    pub created_ts: i64,
}

/// Creates an account; `false` if the name is taken, be it by a closed account.
pub async fn insert(db: &mut Connection, user: NewUser<'_>) -> Result<bool, Error> {
    let done = sqlx::query!(
        "INSERT INTO users (user_id, password_hash, is_admin, created_ts) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO NOTHING",
        user.user_id.as_str(),
        user.password_hash,
        user.is_admin,
        user.created_ts
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The account of that id.
pub async fn find(db: &mut Connection, user_id: &UserId) -> Result<Option<User>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT user_id, password_hash, is_admin, deactivated_ts FROM users WHERE user_id = $1",
        user_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    row.map(User::try_from).transpose()
}

/// Whether anybody administers the server.
pub async fn has_admin(db: &mut Connection) -> Result<bool, Error> {
    let found =
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM users WHERE is_admin) AS "found!""#)
            .fetch_one(db)
            .await?;
    Ok(found)
}

/// Which of the users have an open account here.
pub async fn active(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
) -> Result<Vec<OwnedUserId>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let found = sqlx::query_scalar!(
        "SELECT user_id FROM users WHERE user_id = ANY($1) AND deactivated_ts IS NULL",
        &user_ids
    )
    .fetch_all(db)
    .await?;
    found.into_iter().map(id).collect()
}

/// The account of that id, held until the transaction ends, so that what is read of it stays true.
pub async fn lock(db: &mut Connection, user_id: &UserId) -> Result<Option<User>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT user_id, password_hash, is_admin, deactivated_ts FROM users WHERE user_id = $1
         FOR NO KEY UPDATE",
        user_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    row.map(User::try_from).transpose()
}

/// The deactivated accounts that are still joined to, invited to or knocking on a room.
pub async fn deactivated_with_rooms(db: &mut Connection) -> Result<Vec<OwnedUserId>, Error> {
    let found = sqlx::query_scalar!(
        r"SELECT u.user_id FROM users u WHERE u.deactivated_ts IS NOT NULL AND EXISTS (
            SELECT FROM memberships m
            WHERE m.user_id = replace(u.user_id, '\', '\\') AND m.membership IN ('join', 'invite', 'knock'))"
    )
    .fetch_all(db)
    .await?;
    found.into_iter().map(id).collect()
}

/// Replaces the password of an open account.
pub async fn set_password(
    db: &mut Connection,
    user_id: &UserId,
    password_hash: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE users SET password_hash = $2 WHERE user_id = $1 AND deactivated_ts IS NULL",
        user_id.as_str(),
        password_hash
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Closes an account for good.
pub async fn deactivate(
    db: &mut Connection,
    user_id: &UserId,
    erased: bool,
    now: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE users SET password_hash = NULL, is_admin = false, erased = erased OR $2,
             deactivated_ts = COALESCE(deactivated_ts, $3)
         WHERE user_id = $1",
        user_id.as_str(),
        erased,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
