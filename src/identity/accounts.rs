//! Accounts: creation, password change, deactivation.

use ruma::{OwnedUserId, UserId};
use serde_json::Map;
use storage::{Tx, UserChange, UserChanges, stream::AccountData};
use types::Secret;

use crate::{
    ActiveUser, Error, Identity, Profile, Result, devices::delete_all_devices_with, push_rules,
    uia::Confirmed, user_directory,
};

/// An account to be created.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The localpart of the user id; converted to lower case.
    pub username: String,
    /// The password; without one, password login is not possible.
    pub password: Option<Secret>,
    /// The display name; defaults to the localpart.
    pub display_name: Option<String>,
    /// Whether the user administers this server.
    pub is_admin: bool,
}

impl Identity {
    /// Whether the server has an administrator.
    pub async fn has_admin(&self) -> Result<bool> {
        let mut db = self.0.database.acquire().await?;
        Ok(storage::users::has_admin(&mut db).await?)
    }

    /// Creates an account.
    #[tracing::instrument(name = "identity.create_user", skip_all, err(level = "debug"))]
    pub async fn create_user(&self, new: NewUser) -> Result<OwnedUserId> {
        let user_id = self.new_user_id(&new.username)?;
        let hash = self.hash_optional(new.password.clone()).await?;
        let mut tx = self.0.database.begin().await?;
        let change = self
            .create_user_with(&mut tx, &user_id, &new, hash.as_deref())
            .await?;
        tx.commit_with([change].into_iter().collect()).await?;
        tracing::info!(user.id = %user_id, admin = new.is_admin, "An account was created");
        Ok(user_id)
    }

    pub(crate) async fn create_user_with(
        &self,
        tx: &mut Tx,
        user_id: &UserId,
        new: &NewUser,
        password_hash: Option<&str>,
    ) -> Result<UserChange> {
        let user = storage::users::NewUser {
            user_id,
            password_hash,
            is_admin: new.is_admin,
            created_ts: self.now(),
        };
        if !storage::users::insert(tx, user).await? {
            return Err(Error::UserInUse);
        }
        let name = new.display_name.as_deref().unwrap_or(user_id.localpart());
        let profile = Profile(Map::from_iter([("displayname".to_owned(), name.into())]));
        let name = serde_json::to_string(name)?;
        storage::profiles::set(tx, user_id, "displayname", &name).await?;
        user_directory::list(tx, user_id, &profile).await?;
        let rules = event::push::defaults(user_id);
        Ok(UserChange::AccountData(AccountData {
            user_id: user_id.to_owned(),
            room_nid: None,
            event_type: push_rules::EVENT_TYPE.to_owned(),
            content: push_rules::content(&rules)?,
        }))
    }

    pub(crate) async fn hash_optional(&self, password: Option<Secret>) -> Result<Option<String>> {
        match password {
            Some(password) => self.0.passwords.hash(password).await.map(Some),
            None => Ok(None),
        }
    }

    /// Deactivated users who are still members of rooms.
    pub async fn deactivated_with_rooms(&self) -> Result<Vec<OwnedUserId>> {
        let mut db = self.0.database.acquire().await?;
        Ok(storage::users::deactivated_with_rooms(&mut db).await?)
    }

    /// Replaces the user's password, and ends the pushers of the user's other sessions, and these
    /// themselves if requested.
    #[tracing::instrument(name = "identity.change_password", skip_all, err(level = "debug"))]
    pub async fn change_password(
        &self,
        user: &ActiveUser,
        new_password: Secret,
        logout_others: bool,
        _: Confirmed,
    ) -> Result<()> {
        let hash = self.0.passwords.hash(new_password).await?;
        let mut tx = self.0.database.begin().await?;
        let (changes, ended) = if logout_others {
            delete_all_devices_with(&mut tx, &user.user_id, Some(&user.device_id)).await?
        } else {
            (UserChanges::new(), Vec::new())
        };
        // Who has changed the password may not trust those who set them.
        storage::pushers::delete_of_other_sessions(&mut tx, &user.user_id, user.session_nid)
            .await?;
        storage::users::set_password(&mut tx, &user.user_id, &hash).await?;
        tx.commit_with(changes).await?;
        self.revoke_tokens(&ended);
        Ok(())
    }

    /// Deactivates the user's account permanently and deletes its devices, account data, key backups, delayed events
    /// and subscriptions to threads.
    ///
    /// The caller makes the user leave all rooms afterwards; [`deactivated_with_rooms`] finds those for whom that failed.
    ///
    /// [`deactivated_with_rooms`]: Self::deactivated_with_rooms
    #[tracing::instrument(name = "identity.deactivate", skip_all, err(level = "debug"))]
    pub async fn deactivate(&self, user: &ActiveUser, erase: bool, _: Confirmed) -> Result<()> {
        let user_id = &user.user_id;
        let mut tx = self.0.database.begin().await?;
        let (_, ended) = delete_all_devices_with(&mut tx, user_id, None).await?;
        storage::users::deactivate(&mut tx, user_id, erase, self.now()).await?;
        storage::account_data::delete_all(&mut tx, user_id).await?;
        storage::cross_signing::delete(&mut tx, user_id).await?;
        storage::cross_signing::delete_signatures_by(&mut tx, user_id).await?;
        storage::key_backups::delete_all(&mut tx, user_id).await?;
        storage::delayed_events::delete_all(&mut tx, user_id).await?;
        storage::thread_subscriptions::delete_all(&mut tx, user_id).await?;
        if erase {
            storage::profiles::delete_all(&mut tx, user_id).await?;
        }
        storage::user_directory::remove(&mut tx, &[(None, user_id.clone())]).await?;
        // Cross-signing keys have gone even if there was no device.
        let change = UserChange::DeviceList {
            user_id: user_id.clone(),
        };
        tx.commit_with([change].into_iter().collect()).await?;
        self.revoke_tokens(&ended);
        tracing::info!(user.id = %user_id, erase, "An account was deactivated");
        Ok(())
    }
}
