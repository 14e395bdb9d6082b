//! The signing keys of other servers.

use ruma::ServerName;

use crate::{Connection, Database, Error};

/// A key of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// Its id, such as `ed25519:abc`.
    pub key_id: String,
    /// The public key, unpadded base64.
    pub public_key: String,
    /// Until when signatures with it are valid, in milliseconds since the Unix epoch.
    pub valid_until_ts: u64,
    /// Whether the server signs no requests with it any more.
    pub is_old: bool,
}

/// A key response of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyResponse {
    /// The JSON text, with the server's signatures.
    pub response: String,
    /// When it was fetched, in milliseconds since the Unix epoch.
    pub fetched_ts: u64,
    /// Until when the keys are valid.
    pub valid_until_ts: u64,
}

/// The known keys of a server.
pub async fn of_server(
    db: &mut Connection,
    server_name: &ServerName,
) -> Result<Vec<ServerKey>, Error> {
    let rows = sqlx::query!(
        "SELECT key_id, public_key, valid_until_ts, is_old FROM server_keys WHERE server_name = $1",
        server_name.as_str()
    )
    .fetch_all(db)
    .await?;
    let key = rows.into_iter().map(|row| ServerKey {
        key_id: row.key_id,
        public_key: row.public_key,
        valid_until_ts: row.valid_until_ts as u64,
        is_old: row.is_old,
    });
    Ok(key.collect())
}

/// The last key response of a server.
pub async fn response(
    db: &mut Connection,
    server_name: &ServerName,
) -> Result<Option<KeyResponse>, Error> {
    let row = sqlx::query!(
        "SELECT response, fetched_ts, valid_until_ts FROM server_key_responses WHERE server_name = $1",
        server_name.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| KeyResponse {
        response: row.response,
        fetched_ts: row.fetched_ts as u64,
        valid_until_ts: row.valid_until_ts as u64,
    }))
}

/// Stores a key response and its keys. Keys that it does not name any more are kept, as old ones.
pub async fn insert(
    database: &Database,
    server_name: &ServerName,
    keys: &[ServerKey],
    response: &KeyResponse,
) -> Result<(), Error> {
    let mut db = database.acquire().await?;
    let mut tx = sqlx::Connection::begin(&mut *db).await?;
    // First, so that two processes that store at once take turns.
    let stored = sqlx::query!(
        "INSERT INTO server_key_responses (server_name, response, fetched_ts, valid_until_ts)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (server_name) DO UPDATE
         SET response = excluded.response, fetched_ts = excluded.fetched_ts, valid_until_ts = excluded.valid_until_ts
         WHERE server_key_responses.fetched_ts <= excluded.fetched_ts",
        server_name.as_str(),
        response.response,
        response.fetched_ts as i64,
        response.valid_until_ts as i64
    )
    .execute(&mut *tx)
    .await?;
    if stored.rows_affected() == 0 {
        return Ok(());
    }
    let column = |value: fn(&ServerKey) -> &String| -> Vec<String> {
        keys.iter().map(|key| value(key).clone()).collect()
    };
    let key_ids = column(|key| &key.key_id);
    sqlx::query!(
        "UPDATE server_keys SET is_old = true WHERE server_name = $1 AND key_id != ALL($2)",
        server_name.as_str(),
        &key_ids
    )
    .execute(&mut *tx)
    .await?;
    let valid_until: Vec<i64> = keys.iter().map(|key| key.valid_until_ts as i64).collect();
    let is_old: Vec<bool> = keys.iter().map(|key| key.is_old).collect();
    sqlx::query!(
        "INSERT INTO server_keys (server_name, key_id, public_key, valid_until_ts, is_old)
         SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::bigint[], $5::boolean[])
         ON CONFLICT (server_name, key_id) DO UPDATE
         SET public_key = excluded.public_key, valid_until_ts = excluded.valid_until_ts, is_old = excluded.is_old",
        server_name.as_str(),
        &key_ids,
        &column(|key| &key.public_key),
        &valid_until,
        &is_old
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}
