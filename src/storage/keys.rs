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

/// The key to sign with; `fresh` becomes it when there is none yet.
///
/// Two processes that start at once end up with the same key.
pub async fn current(
    db: &mut Connection,
    fresh: &SigningKey,
    now_ms: u64,
) -> Result<SigningKey, Error> {
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
    let row = sqlx::query!(
        "SELECT key_version, private_der FROM signing_keys WHERE expired_ts IS NULL
         ORDER BY created_ts DESC LIMIT 1"
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(SigningKey {
        version: row.key_version,
        private_der: row.private_der,
    })
}
