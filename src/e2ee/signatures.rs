//! `/keys/signatures/upload`: signatures on the user's own devices and master key, and on other
//! users' master keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ruma::{OwnedUserId, UserId, encryption::KeyUsage};
use serde_json::value::RawValue;
use storage::{
    Connection, UserChange,
    cross_signing::{self, CrossSigningKey, MasterKeySignature},
    device_keys,
};

use crate::{
    Error, Keys,
    ask::parse,
    cross_signing::{StoredKeys, device_signers},
    identifiers::is_valid_identifier,
    signed::{PublicKeys, Signed},
};

/// How long other servers are asked for keys that are signed.
const REMOTE_KEYS: Duration = Duration::from_secs(10);

/// Rejected signatures with their errors, by user and key id.
pub type SignatureFailures = BTreeMap<OwnedUserId, BTreeMap<String, Error>>;

/// The uploading user and the keys that may have made the signatures.
struct SigningUser<'a> {
    user_id: &'a UserId,
    keys: StoredKeys,
    devices: PublicKeys,
    /// The master keys of users of other servers.
    remote_masters: BTreeMap<OwnedUserId, CrossSigningKey>,
}

impl Keys {
    /// Verifies and adds signatures to keys; returns those that were rejected.
    #[tracing::instrument(name = "e2ee.upload_signatures", skip_all, fields(user.id = %user_id), err(level = "debug"))]
    pub async fn upload_signatures(
        &self,
        user_id: &UserId,
        signed: BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>,
    ) -> Result<SignatureFailures, Error> {
        let remote_masters = self.remote_masters(user_id, signed.keys()).await?;
        let mut tx = self.database.begin().await?;
        cross_signing::lock(&mut tx, user_id).await?;
        let signer = SigningUser {
            user_id,
            remote_masters,
            keys: StoredKeys::of(&mut tx, user_id).await?,
            devices: device_signers(&mut tx, user_id).await?,
        };
        let mut failures = SignatureFailures::new();
        let mut changed = BTreeSet::new();
        for (owner, keys) in signed {
            for (key_id, object) in keys {
                match signer.add(&mut tx, &owner, &key_id, object.get()).await {
                    Ok(true) => {
                        changed.insert(owner.clone());
                    }
                    Ok(false) => {}
                    Err(Error::Storage(error)) => return Err(Error::Storage(error)),
                    Err(error) => {
                        failures
                            .entry(owner.clone())
                            .or_default()
                            .insert(key_id, error);
                    }
                }
            }
        }
        let changes = changed.into_iter().map(|owner| change_for(user_id, owner));
        tx.commit_with(changes.collect()).await?;
        Ok(failures)
    }

    /// The master keys of those of the users who are of other servers.
    async fn remote_masters(
        &self,
        user_id: &UserId,
        owners: impl Iterator<Item = &OwnedUserId>,
    ) -> Result<BTreeMap<OwnedUserId, CrossSigningKey>, Error> {
        let remote = owners.filter(|owner| !self.is_local(owner));
        let wanted = remote.map(|owner| (owner.clone(), Vec::new())).collect();
        let found = self.query(user_id, wanted, REMOTE_KEYS).await?;
        let masters = found.master_keys.into_iter();
        let masters = masters.filter_map(|(owner, key)| {
            let key = parse(&owner, KeyUsage::Master, &key)?;
            let row = CrossSigningKey {
                user_id: owner.clone(),
                usage: key.usage,
                public_key: key.public_key,
                key: key.key.to_json(),
            };
            Some((owner, row))
        });
        Ok(masters.collect())
    }
}

/// Signatures by the owner's own keys change its device list for everybody; those by another user
/// are visible to that user only.
fn change_for(signer: &UserId, owner: OwnedUserId) -> UserChange {
    if owner == signer {
        return UserChange::DeviceList { user_id: owner };
    }
    UserChange::UserSigned {
        signer: signer.to_owned(),
        user_id: owner,
    }
}

impl SigningUser<'_> {
    /// Adds the signatures of one object; returns whether any of them is new.
    async fn add(
        &self,
        db: &mut Connection,
        owner: &UserId,
        key_id: &str,
        json: &str,
    ) -> Result<bool, Error> {
        if !is_valid_identifier(owner.as_str()) || !is_valid_identifier(key_id) {
            return Err(Error::UnknownKey);
        }
        let object = Signed::parse(json)?;
        if owner != self.user_id {
            let keys = StoredKeys::of(&mut *db, owner).await?;
            let remote = self.remote_masters.get(owner);
            let master = remote.or_else(|| keys.find(&KeyUsage::Master));
            let master = master
                .filter(|master| master.public_key == key_id)
                .ok_or(Error::UnknownKey)?;
            let by = self
                .keys
                .find(&KeyUsage::UserSigning)
                .map(|key| &*key.public_key);
            return self
                .add_to_master(db, owner, master, &object, &ed25519(by))
                .await;
        }
        let master = self.keys.find(&KeyUsage::Master);
        if let Some(master) = master.filter(|master| master.public_key == key_id) {
            return self
                .add_to_master(db, owner, master, &object, &self.devices)
                .await;
        }
        self.add_to_device(db, key_id, &object).await
    }

    /// Adds signatures by the self-signing key to one of the user's devices.
    async fn add_to_device(
        &self,
        db: &mut Connection,
        device_id: &str,
        object: &Signed,
    ) -> Result<bool, Error> {
        let stored = device_keys::find_for_update(&mut *db, self.user_id, device_id.into()).await?;
        let mut stored = Signed::parse(&stored.ok_or(Error::UnknownKey)?)?;
        let by = self
            .keys
            .find(&KeyUsage::SelfSigning)
            .map(|key| &*key.public_key);
        let mut signers = ed25519(by);
        // The object may carry the signature that the device itself made.
        signers.extend(
            stored
                .device_key(device_id.into())
                .map(|key| (format!("ed25519:{device_id}"), key.to_owned())),
        );
        let before = stored.clone();
        for (signer_key, signature) in self.verified(object, &stored, &signers)? {
            stored.add_signature(self.user_id, &signer_key, &signature);
        }
        if stored == before {
            return Ok(false);
        }
        device_keys::replace(db, self.user_id, device_id.into(), &stored.to_json()).await?;
        Ok(true)
    }

    /// Adds signatures to a master key.
    async fn add_to_master(
        &self,
        db: &mut Connection,
        owner: &UserId,
        master: &CrossSigningKey,
        object: &Signed,
        signers: &PublicKeys,
    ) -> Result<bool, Error> {
        let stored = Signed::parse(&master.key)?;
        let mut added = false;
        for (signer_key, signature) in self.verified(object, &stored, signers)? {
            let signature = MasterKeySignature {
                user_id: owner.to_owned(),
                public_key: master.public_key.clone(),
                signer: self.user_id.to_owned(),
                signer_key,
                signature,
            };
            added |= cross_signing::add_signature(&mut *db, &signature).await?;
        }
        Ok(added)
    }

    /// The user's signatures on an object, all verified.
    fn verified(
        &self,
        object: &Signed,
        stored: &Signed,
        signers: &PublicKeys,
    ) -> Result<BTreeMap<String, String>, Error> {
        if !object.same_content(stored) {
            return Err(Error::KeyMismatch);
        }
        let signatures = object.signatures_by(self.user_id);
        if signatures.is_empty() {
            return Err(Error::InvalidSignature(
                "no signature by the caller".to_owned(),
            ));
        }
        for key_id in signatures.keys() {
            let public_key = signers.get(key_id).ok_or_else(|| {
                Error::InvalidSignature(format!("{key_id} must not sign this key"))
            })?;
            object.verify(self.user_id, key_id, public_key)?;
        }
        Ok(signatures)
    }
}

/// An optional Ed25519 key by its key id.
fn ed25519(public_key: Option<&str>) -> PublicKeys {
    public_key
        .map(|key| (format!("ed25519:{key}"), key.to_owned()))
        .into_iter()
        .collect()
}
