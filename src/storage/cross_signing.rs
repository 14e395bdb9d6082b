//! Users' cross-signing keys, and the signatures that others added to the master keys.

use ruma::{OwnedUserId, UserId, encryption::KeyUsage};

use crate::{Connection, Error, rows::id};

/// One of the three keys with which a user vouches for devices and for other users.
#[derive(Clone, Debug)]
pub struct CrossSigningKey {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Which of the three.
    pub usage: KeyUsage,
    /// The public key, unpadded base64.
    pub public_key: String,
    /// The key as it was uploaded, a JSON object.
    pub key: String,
}

/// A signature that was added to a master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKeySignature {
    /// Whose master key.
    pub user_id: OwnedUserId,
    /// The master key that is signed, unpadded base64.
    pub public_key: String,
    /// Who signed.
    pub signer: OwnedUserId,
    /// With which key, such as `ed25519:DEVICE`.
    pub signer_key: String,
    /// The signature, unpadded base64.
    pub signature: String,
}

/// Lets no other transaction work on the user's cross-signing keys until this one ends.
pub async fn lock(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('cross_signing ' || $1, 0))",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The keys of these users.
pub async fn of_users(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
) -> Result<Vec<CrossSigningKey>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        "SELECT user_id, usage, public_key, key FROM cross_signing_keys WHERE user_id = ANY($1)",
        &user_ids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(CrossSigningKey {
                user_id: id(row.user_id)?,
                usage: KeyUsage::from(row.usage),
                public_key: row.public_key,
                key: row.key,
            })
        })
        .collect()
}

/// Puts a key in the place of the one of the same usage.
pub async fn replace(db: &mut Connection, key: &CrossSigningKey) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO cross_signing_keys (user_id, usage, public_key, key) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id, usage) DO UPDATE SET public_key = excluded.public_key, key = excluded.key",
        key.user_id.as_str(),
        key.usage.as_str(),
        key.public_key,
        key.key
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes all keys of the user and the signatures on the master key.
pub async fn delete(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM cross_signing_keys WHERE user_id = $1",
        user_id.as_str()
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "DELETE FROM master_key_signatures WHERE user_id = $1",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes what the user signed of other users' keys, for a user-signing key that is gone.
pub async fn delete_signatures_by(db: &mut Connection, signer: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM master_key_signatures WHERE signer = $1 AND user_id <> $1",
        signer.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds a signature to a master key; `false` when it was there already.
pub async fn add_signature(
    db: &mut Connection,
    signature: &MasterKeySignature,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "INSERT INTO master_key_signatures (user_id, public_key, signer, signer_key, signature)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id, public_key, signer, signer_key) DO UPDATE SET signature = excluded.signature
         WHERE master_key_signatures.signature <> excluded.signature",
        signature.user_id.as_str(),
        signature.public_key,
        signature.signer.as_str(),
        signature.signer_key,
        signature.signature
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

struct SignatureRow {
    user_id: String,
    public_key: String,
    signer: String,
    signer_key: String,
    signature: String,
}

impl TryFrom<SignatureRow> for MasterKeySignature {
    type Error = Error;

    fn try_from(row: SignatureRow) -> Result<Self, Error> {
        Ok(Self {
            user_id: id(row.user_id)?,
            public_key: row.public_key,
            signer: id(row.signer)?,
            signer_key: row.signer_key,
            signature: row.signature,
        })
    }
}

/// The signatures on these users' current master keys by their owners.
pub async fn signatures_by_owners(
    db: &mut Connection,
    user_ids: &[OwnedUserId],
) -> Result<Vec<MasterKeySignature>, Error> {
    let user_ids: Vec<String> = user_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_as!(
        SignatureRow,
        "SELECT s.user_id, s.public_key, s.signer, s.signer_key, s.signature
         FROM master_key_signatures s
         JOIN cross_signing_keys k ON k.user_id = s.user_id AND k.public_key = s.public_key AND k.usage = 'master'
         WHERE s.user_id = ANY($1) AND s.signer = s.user_id",
        &user_ids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(MasterKeySignature::try_from).collect()
}

/// The signatures that a user added to the master keys of others.
pub async fn signatures_by(
    db: &mut Connection,
    signer: &UserId,
) -> Result<Vec<MasterKeySignature>, Error> {
    let rows = sqlx::query_as!(
        SignatureRow,
        "SELECT user_id, public_key, signer, signer_key, signature FROM master_key_signatures
         WHERE signer = $1 AND user_id <> $1",
        signer.as_str()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(MasterKeySignature::try_from).collect()
}
