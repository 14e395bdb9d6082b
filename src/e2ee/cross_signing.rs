//! Uploading cross-signing keys.

use std::collections::BTreeMap;

use ruma::{
    OwnedUserId, UserId,
    encryption::{CrossSigningKey, KeyUsage},
    serde::{Base64, Raw},
};
use serde::Deserialize;
use storage::{Connection, UserChange, UserChanges, cross_signing, device_keys};

use crate::{
    Error, Keys,
    signed::{PublicKeys, Signed, check_size},
};

/// The cross-signing keys of an upload; each may be absent.
#[derive(Clone, Debug, Default)]
pub struct CrossSigningUpload {
    /// The master key; signs the other two.
    pub master: Option<Raw<CrossSigningKey>>,
    /// The self-signing key; signs the user's devices.
    pub self_signing: Option<Raw<CrossSigningKey>>,
    /// The user-signing key; signs other users' master keys.
    pub user_signing: Option<Raw<CrossSigningKey>>,
}

/// Whether an upload may replace existing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyReplacement {
    /// The user has completed user-interactive authentication.
    Allowed,
    /// Only first keys, or identical ones.
    Forbidden,
}

/// One key of an upload, or as another server tells it.
pub(crate) struct UploadedKey {
    pub(crate) usage: KeyUsage,
    pub(crate) public_key: String,
    pub(crate) key: Signed,
}

impl Keys {
    /// Whether the upload replaces existing keys, which requires user-interactive authentication.
    pub async fn replaces_cross_signing(
        &self,
        user_id: &UserId,
        upload: &CrossSigningUpload,
    ) -> Result<bool, Error> {
        let uploaded = upload.parse(user_id)?;
        let mut db = self.database.acquire().await?;
        let stored = StoredKeys::of(&mut db, user_id).await?;
        Ok(stored.is_replaced_by(&uploaded))
    }

    /// Verifies and stores a user's cross-signing keys; the master key must have signed the others.
    #[tracing::instrument(name = "e2ee.upload_cross_signing", skip_all, fields(user.id = %user_id), err(level = "debug"))]
    pub async fn upload_cross_signing(
        &self,
        user_id: &UserId,
        upload: CrossSigningUpload,
        replacement: KeyReplacement,
    ) -> Result<(), Error> {
        let mut uploaded = upload.parse(user_id)?;
        let mut tx = self.database.begin().await?;
        cross_signing::lock(&mut tx, user_id).await?;
        let stored = StoredKeys::of(&mut tx, user_id).await?;
        if replacement == KeyReplacement::Forbidden && stored.is_replaced_by(&uploaded) {
            return Err(Error::ReplacementForbidden);
        }
        let new_master = uploaded.iter().find(|key| key.usage == KeyUsage::Master);
        let master = new_master
            .map(|key| key.public_key.clone())
            .or_else(|| stored.master().map(str::to_owned));
        let Some(master) = master else {
            return if uploaded.is_empty() {
                Ok(())
            } else {
                Err(Error::NoMasterKey)
            };
        };
        let public_keys: Vec<String> = uploaded.iter().map(|key| key.public_key.clone()).collect();
        if device_keys::is_device(&mut tx, user_id, &public_keys).await? {
            return Err(Error::KeyIsDeviceId);
        }
        let mut signers = device_signers(&mut tx, user_id).await?;
        signers.extend(stored.signers());
        signers.extend(uploaded.iter().map(UploadedKey::signer));
        for key in &uploaded {
            key.verify(user_id, &master, &signers)?;
        }
        // A new master key replaces the others even if they are the same: their signatures are new.
        if stored.master() == Some(&*master) {
            stored.merge_into(&mut uploaded)?;
        }
        if uploaded.is_empty() {
            return Ok(());
        }
        store(&mut tx, user_id, &stored, uploaded).await?;
        let changed = UserChange::DeviceList {
            user_id: user_id.to_owned(),
        };
        tx.commit_with(UserChanges::from_iter([changed])).await?;
        Ok(())
    }
}

async fn store(
    db: &mut Connection,
    user_id: &UserId,
    stored: &StoredKeys,
    uploaded: Vec<UploadedKey>,
) -> Result<(), Error> {
    let is_replaced = |usage: KeyUsage| {
        let mut keys = uploaded.iter().filter(|key| key.usage == usage);
        keys.any(|key| stored.same_key(key).is_none())
    };
    let is_new_master = is_replaced(KeyUsage::Master);
    if is_new_master || is_replaced(KeyUsage::UserSigning) {
        cross_signing::delete_signatures_by(&mut *db, user_id).await?;
    }
    if is_new_master && stored.master().is_some() {
        // Keys signed by the old master key are invalid under the new one.
        cross_signing::delete(&mut *db, user_id).await?;
    }
    for key in uploaded {
        let row = cross_signing::CrossSigningKey {
            user_id: user_id.to_owned(),
            usage: key.usage,
            public_key: key.public_key,
            key: key.key.to_json(),
        };
        cross_signing::replace(&mut *db, &row).await?;
    }
    Ok(())
}

/// The Ed25519 keys of a user's devices.
pub(crate) async fn device_signers(
    db: &mut Connection,
    user_id: &UserId,
) -> Result<PublicKeys, Error> {
    let mut signers = PublicKeys::new();
    for (_, device) in device_keys::of_users(db, &[user_id.to_owned()]).await? {
        let Some(device) = device else {
            continue;
        };
        if let Some(key) = Signed::parse(&device.keys)?.device_key(&device.device_id) {
            signers.insert(format!("ed25519:{}", device.device_id), key.to_owned());
        }
    }
    Ok(signers)
}

impl CrossSigningUpload {
    fn parse(&self, user_id: &UserId) -> Result<Vec<UploadedKey>, Error> {
        [
            (KeyUsage::Master, &self.master),
            (KeyUsage::SelfSigning, &self.self_signing),
            (KeyUsage::UserSigning, &self.user_signing),
        ]
        .into_iter()
        .filter_map(|(usage, key)| {
            Some(UploadedKey::parse(
                user_id,
                usage,
                key.as_ref()?.json().get(),
            ))
        })
        .collect()
    }
}

impl UploadedKey {
    pub(crate) fn parse(user_id: &UserId, usage: KeyUsage, json: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Shape {
            user_id: OwnedUserId,
            usage: Vec<KeyUsage>,
            keys: BTreeMap<String, String>,
        }
        let malformed = |text: &str| Error::Malformed(text.to_owned());
        check_size(json)?;
        let shape: Shape =
            serde_json::from_str(json).map_err(|error| Error::Malformed(error.to_string()))?;
        if shape.user_id != user_id {
            return Err(Error::WrongOwner);
        }
        if !shape.usage.contains(&usage) {
            return Err(malformed("a cross-signing key is not meant for this usage"));
        }
        let mut keys = shape.keys.into_iter();
        let (Some((key_id, public_key)), None) = (keys.next(), keys.next()) else {
            return Err(malformed("a cross-signing key has exactly one public key"));
        };
        let is_key = Base64::<ruma::serde::base64::Standard, [u8; 32]>::parse(&public_key).is_ok();
        if !is_key || key_id.strip_prefix("ed25519:") != Some(&*public_key) {
            return Err(malformed(
                "a cross-signing key is named after its Ed25519 public key",
            ));
        }
        Ok(Self {
            usage,
            public_key,
            key: Signed::parse(json)?,
        })
    }

    /// Checks that the master key signed the other keys, and all signatures by keys of the user that
    /// the server knows: devices and cross-signing keys.
    fn verify(&self, user_id: &UserId, master: &str, signers: &PublicKeys) -> Result<(), Error> {
        if self.usage != KeyUsage::Master {
            self.verify_by(user_id, master)?;
        }
        self.key.verify_known(user_id, signers)
    }

    /// Checks that the master key signed this one.
    pub(crate) fn verify_by(&self, user_id: &UserId, master: &str) -> Result<(), Error> {
        self.key
            .verify(user_id, &format!("ed25519:{master}"), master)
    }

    /// The public key by its key id.
    fn signer(&self) -> (String, String) {
        (
            format!("ed25519:{}", self.public_key),
            self.public_key.clone(),
        )
    }
}

/// The stored cross-signing keys of a user.
pub(crate) struct StoredKeys(Vec<cross_signing::CrossSigningKey>);

impl StoredKeys {
    pub(crate) async fn of(db: &mut Connection, user_id: &UserId) -> Result<Self, Error> {
        Ok(Self(
            cross_signing::of_users(db, &[user_id.to_owned()]).await?,
        ))
    }

    pub(crate) fn find(&self, usage: &KeyUsage) -> Option<&cross_signing::CrossSigningKey> {
        self.0.iter().find(|key| key.usage == *usage)
    }

    /// The public keys by their key ids.
    pub(crate) fn signers(&self) -> PublicKeys {
        let signer = |key: &cross_signing::CrossSigningKey| {
            (
                format!("ed25519:{}", key.public_key),
                key.public_key.clone(),
            )
        };
        self.0.iter().map(signer).collect()
    }

    fn master(&self) -> Option<&str> {
        self.find(&KeyUsage::Master).map(|key| &*key.public_key)
    }

    /// The stored key that equals the uploaded one apart from signatures.
    fn same_key(&self, key: &UploadedKey) -> Option<Signed> {
        let stored = Signed::parse(&self.find(&key.usage)?.key).ok()?;
        stored.same_content(&key.key).then_some(stored)
    }

    /// Adds the stored signatures to uploaded keys that are the same, and removes those without new
    /// signatures.
    fn merge_into(&self, uploaded: &mut Vec<UploadedKey>) -> Result<(), Error> {
        let mut changed = Vec::new();
        for mut key in std::mem::take(uploaded) {
            if let Some(stored) = self.same_key(&key) {
                let mut merged = stored.clone();
                merged.merge_signatures(&key.key);
                if merged == stored {
                    continue;
                }
                // Signatures that cannot be verified must not accumulate.
                check_size(&merged.to_json())?;
                key.key = merged;
            }
            changed.push(key);
        }
        *uploaded = changed;
        Ok(())
    }

    /// Spec: with a master key, uploading any key that differs from the stored one is a replacement.
    fn is_replaced_by(&self, uploaded: &[UploadedKey]) -> bool {
        self.master().is_some() && uploaded.iter().any(|key| self.same_key(key).is_none())
    }
}
