//! Backups of room keys: clients encrypt their Megolm sessions and store them here.
//!
//! Spec: client-server, "Server-side key backups".

use std::collections::BTreeMap;

use ruma::{
    OwnedRoomId, UInt, UserId,
    api::client::backup::{BackupAlgorithm, KeyBackupData},
    serde::{JsonObject, Raw},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::{
    Connection,
    key_backups::{self, BackedUpKey, BackupSize, KeyBackup, NewKey, Selection},
};

use crate::{Error, Keys, identifiers::check_identifier, signed::check_size};

/// The most backups of one user; clients delete a backup when they make another.
const MAX_BACKUPS: i64 = 100;

/// Keys by room and session, as clients send and get them.
pub type RoomKeys = BTreeMap<OwnedRoomId, BTreeMap<String, Raw<KeyBackupData>>>;

/// What a client says about a backup.
#[derive(Debug, Deserialize)]
pub struct BackupUpdate {
    algorithm: String,
    auth_data: Box<RawValue>,
    version: Option<String>,
}

/// What decides between two keys of one session.
#[derive(Deserialize)]
struct KeyContent {
    first_message_index: UInt,
    forwarded_count: UInt,
    is_verified: bool,
    #[serde(rename = "session_data")]
    _session_data: JsonObject,
}

impl BackupUpdate {
    /// Reads it; `auth_data` must be an object.
    pub fn parse(sent: &Raw<BackupAlgorithm>) -> Result<Self, Error> {
        let malformed = |error: serde_json::Error| Error::Malformed(error.to_string());
        let update: Self = serde_json::from_str(sent.json().get()).map_err(malformed)?;
        check_identifier("algorithm", &update.algorithm)?;
        let auth_data = update.auth_data.get();
        check_size(auth_data)?;
        serde_json::from_str::<JsonObject>(auth_data).map_err(malformed)?;
        Ok(update)
    }
}

impl Keys {
    /// Makes a backup, which is the current one from now on, and returns its version.
    pub async fn create_backup(
        &self,
        user_id: &UserId,
        backup: &BackupUpdate,
    ) -> Result<i64, Error> {
        let mut tx = self.database.begin().await?;
        key_backups::lock(&mut tx, user_id).await?;
        let (backups, _) = key_backups::totals(&mut tx, user_id).await?;
        if backups >= MAX_BACKUPS {
            return Err(self.settings.limits.too_many_backups(MAX_BACKUPS).into());
        }
        let (algorithm, auth_data) = (&*backup.algorithm, backup.auth_data.get());
        let version = key_backups::insert(&mut tx, user_id, algorithm, auth_data).await?;
        tx.commit().await?;
        Ok(version)
    }

    /// A backup of the user; the current one if no version is named.
    pub async fn backup(
        &self,
        user_id: &UserId,
        version: Option<&str>,
    ) -> Result<KeyBackup, Error> {
        let mut db = self.database.acquire().await?;
        if let Some(version) = version {
            return existing(&mut db, user_id, version).await;
        }
        let current = key_backups::current(&mut db, user_id).await?;
        current.ok_or(Error::UnknownBackup)
    }

    /// Replaces the `auth_data` of a backup; nothing else of it can be changed.
    pub async fn update_backup(
        &self,
        user_id: &UserId,
        version: &str,
        update: &BackupUpdate,
    ) -> Result<(), Error> {
        if update
            .version
            .as_deref()
            .is_some_and(|sent| sent != version)
        {
            return Err(Error::BackupMismatch("version"));
        }
        let mut db = self.database.acquire().await?;
        let backup = existing(&mut db, user_id, version).await?;
        if backup.algorithm != update.algorithm {
            return Err(Error::BackupMismatch("algorithm"));
        }
        let auth_data = update.auth_data.get();
        key_backups::set_auth_data(&mut db, user_id, backup.version, auth_data).await?;
        Ok(())
    }

    /// Deletes a backup with its keys; one that was deleted before stays so.
    pub async fn delete_backup(&self, user_id: &UserId, version: &str) -> Result<(), Error> {
        let mut tx = self.database.begin().await?;
        key_backups::lock(&mut tx, user_id).await?;
        let version = number(version)?;
        let found = key_backups::find(&mut tx, user_id, version).await?;
        if found.ok_or(Error::UnknownBackup)?.is_deleted {
            return Ok(());
        }
        key_backups::delete(&mut tx, user_id, version).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Adds keys to the current backup, which the client must name. A key replaces that of the same
    /// session if it is better.
    #[tracing::instrument(name = "e2ee.back_up", skip_all, fields(user.id = %user_id), err(level = "debug"))]
    pub async fn back_up(
        &self,
        user_id: &UserId,
        version: &str,
        keys: RoomKeys,
    ) -> Result<BackupSize, Error> {
        let new = new_keys(keys)?;
        let mut tx = self.database.begin().await?;
        key_backups::lock(&mut tx, user_id).await?;
        let current = key_backups::current(&mut tx, user_id).await?;
        let current = current.ok_or(Error::UnknownBackup)?.version;
        if number(version).ok() != Some(current) {
            return Err(Error::NotCurrentBackup { current });
        }
        let size = key_backups::insert_keys(&mut tx, user_id, current, &new).await?;
        let (_, keys) = key_backups::totals(&mut tx, user_id).await?;
        let limits = &self.settings.limits;
        if keys > i64::from(limits.backup_keys_per_user) {
            return Err(limits.too_many_backup_keys().into());
        }
        tx.commit().await?;
        Ok(size)
    }

    /// Keys of a backup. One session that is not there is an error, an empty room is not.
    pub async fn backed_up(
        &self,
        user_id: &UserId,
        version: &str,
        selection: Selection<'_>,
    ) -> Result<Vec<BackedUpKey>, Error> {
        let mut db = self.database.acquire().await?;
        let backup = existing(&mut db, user_id, version).await?;
        let keys = key_backups::keys(&mut db, user_id, backup.version, selection).await?;
        if selection.session_id.is_some() && keys.is_empty() {
            return Err(Error::NotBackedUp);
        }
        Ok(keys)
    }

    /// Deletes keys of a backup.
    pub async fn delete_backed_up(
        &self,
        user_id: &UserId,
        version: &str,
        selection: Selection<'_>,
    ) -> Result<BackupSize, Error> {
        let mut tx = self.database.begin().await?;
        key_backups::lock(&mut tx, user_id).await?;
        let backup = existing(&mut tx, user_id, version).await?;
        let size = key_backups::delete_keys(&mut tx, user_id, backup.version, selection).await?;
        tx.commit().await?;
        Ok(size)
    }
}

/// A backup that is not deleted.
async fn existing(
    db: &mut Connection,
    user_id: &UserId,
    version: &str,
) -> Result<KeyBackup, Error> {
    let found = key_backups::find(db, user_id, number(version)?).await?;
    let existing = found.filter(|backup| !backup.is_deleted);
    existing.ok_or(Error::UnknownBackup)
}

/// The number that a version is written as.
fn number(version: &str) -> Result<i64, Error> {
    let number = version.parse::<i64>().ok();
    let number = number.filter(|number| number.to_string() == version);
    number.ok_or(Error::UnknownBackup)
}

fn new_keys(keys: RoomKeys) -> Result<Vec<NewKey>, Error> {
    let mut new = Vec::new();
    for (room_id, sessions) in keys {
        check_identifier("room id", room_id.as_str())?;
        for (session_id, key) in sessions {
            check_identifier("session id", &session_id)?;
            let json = key.json().get();
            check_size(json)?;
            let content: KeyContent =
                serde_json::from_str(json).map_err(|error| Error::Malformed(error.to_string()))?;
            new.push(NewKey {
                key: BackedUpKey {
                    room_id: room_id.to_string(),
                    session_id,
                    key: json.to_owned(),
                },
                is_verified: content.is_verified,
                first_message_index: content.first_message_index.into(),
                forwarded_count: content.forwarded_count.into(),
            });
        }
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_as_they_were_given_out() {
        assert_eq!(number("12").ok(), Some(12));
        for other in ["", "x", "012", "+12", " 12", "99999999999999999999"] {
            assert!(number(other).is_err(), "{other}");
        }
    }
}
