//! The server's own signing keys.

use crate::{Connection, Error};

/// A signing key: the version after `ed25519:` and the private key in DER.
#[derive(Clone)]
pub struct SigningKey {
    /// The version.
    pub version: String,
    /// The private key, PKCS#8.
    pub private_der: Vec<u8>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.version)
    }
}

/// The server's keys.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    /// The key to sign with.
    pub current: SigningKey,
    /// The keys that are not signed with any more, the newest first.
    pub old: Vec<OldSigningKey>,
}

/// A key that is not signed with any more.
#[derive(Clone, Debug)]
pub struct OldSigningKey {
    /// The key.
    pub key: SigningKey,
    /// Since when it is not, in milliseconds since the Unix epoch.
    pub expired_ts: u64,
}

/// Makes the newest key the one to sign with, and returns all; `fresh` is it when there is none yet.
///
/// Two processes that start at once end up with the same key.
pub async fn activate_newest(
    db: &mut Connection,
    fresh: &SigningKey,
    now_ms: u64,
) -> Result<SigningKeys, Error> {
    let mut tx = sqlx::Connection::begin(db).await?;
    // Held until commit: the other process then finds this one's key.
    sqlx::query!("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "INSERT INTO signing_keys (key_version, private_der, created_ts)
         SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM signing_keys WHERE expired_ts IS NULL)",
        fresh.version,
        fresh.private_der,
        now_ms as i64
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE signing_keys SET expired_ts = $1
         WHERE expired_ts IS NULL AND created_ts < (SELECT max(created_ts) FROM signing_keys)",
        now_ms as i64
    )
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query!(
        "SELECT key_version, private_der, expired_ts FROM signing_keys
         ORDER BY expired_ts DESC NULLS FIRST, created_ts DESC"
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let mut keys = rows.into_iter().map(|row| {
        let key = SigningKey {
            version: row.key_version,
            private_der: row.private_der,
        };
        (key, row.expired_ts.unwrap_or_default() as u64)
    });
    // There is one: it was inserted above, if not before.
    let (current, _) = keys.next().unwrap_or_else(|| (fresh.clone(), 0));
    let old = keys.map(|(key, expired_ts)| OldSigningKey { key, expired_ts });
    Ok(SigningKeys {
        current,
        old: old.collect(),
    })
}

/// Stores a new key, which becomes the one to sign with when the server starts the next time.
pub async fn insert(db: &mut Connection, key: &SigningKey, now_ms: u64) -> Result<(), Error> {
    // Newer than all others, whatever the clock says.
    sqlx::query!(
        "INSERT INTO signing_keys (key_version, private_der, created_ts)
         SELECT $1, $2, greatest($3, 1 + coalesce(max(created_ts), 0)) FROM signing_keys",
        key.version,
        key.private_der,
        now_ms as i64
    )
    .execute(db)
    .await?;
    Ok(())
}
