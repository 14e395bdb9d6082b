//! Registration through the client-server API.

use std::time::Duration;

use config::RegistrationMode;
use ruma::OwnedUserId;
use types::{Secret, random};

use crate::{
    DeviceRequest, Error, Identity, Login, NewUser, Result,
    uia::{Confirmed, Stage},
};

/// The number of letters of a generated username.
const GENERATED_USERNAME_LETTERS: usize = 12;

/// A registration request of a client.
#[derive(Clone, Debug)]
pub struct RegistrationRequest {
    /// The requested username; generated if absent.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The device to log in; `None` if the client inhibits the login.
    pub device: Option<DeviceRequest>,
}

impl Identity {
    /// The UIA flows of registration; an error if registration is closed.
    pub fn registration_flows(&self) -> Result<&'static [&'static [Stage]]> {
        match self.0.settings.registration.mode {
            RegistrationMode::Closed => Err(Error::RegistrationClosed),
            RegistrationMode::Token => Ok(&[&[Stage::RegistrationToken]]),
            RegistrationMode::Open => Ok(&[&[Stage::Dummy]]),
        }
    }

    /// Checks that a username can be registered.
    pub async fn check_available(&self, username: &str) -> Result<()> {
        // Names with this prefix are reserved for bridges.
        if username.starts_with('_') {
            return Err(Error::InvalidUsername("it must not begin with _"));
        }
        let user_id = self.new_user_id(username)?;
        let mut db = self.0.database.acquire().await?;
        match storage::users::find(&mut db, &user_id).await? {
            Some(_) => Err(Error::UserInUse),
            None => Ok(()),
        }
    }

    /// Creates an account and logs it in if requested.
    #[tracing::instrument(name = "identity.register", skip_all, err(level = "debug"))]
    pub async fn register(
        &self,
        registration: RegistrationRequest,
        confirmed: Confirmed,
    ) -> Result<(OwnedUserId, Option<Login>)> {
        let password = registration
            .password
            .ok_or(Error::MissingParam("password"))?;
        let username = match registration.username {
            Some(username) => username,
            None => random::letters(GENERATED_USERNAME_LETTERS)?,
        };
        let user_id = self.new_user_id(&username)?;
        let hash = self.hash_optional(Some(password)).await?;
        let new = NewUser {
            username,
            password: None,
            display_name: None,
            is_admin: false,
        };

        let mut tx = self.0.database.begin().await?;
        if let Some(token) = confirmed.registration_token() {
            let used = storage::registration::use_token(&mut tx, token, self.now()).await?;
            if !used {
                return Err(Error::InvalidRegistrationToken);
            }
        }
        let created = self
            .create_user_with(&mut tx, &user_id, &new, hash.as_deref())
            .await?;
        let mut changes: storage::UserChanges = [created].into_iter().collect();
        let session = match registration.device {
            Some(device) => Some(
                self.begin_session_with(&mut tx, user_id.clone(), device)
                    .await?,
            ),
            None => None,
        };
        let login = session.map(|session| {
            session
                .change
                .into_iter()
                .for_each(|change| changes.push(change));
            session.login
        });
        tx.commit_with(changes).await?;
        tracing::info!(user.id = %user_id, "An account was registered");
        Ok((user_id, login))
    }

    /// Whether a registration token is currently valid.
    pub async fn is_registration_token_valid(&self, token: &str) -> Result<bool> {
        if token.contains('\0') {
            return Ok(false);
        }
        let mut db = self.0.database.acquire().await?;
        Ok(storage::registration::is_token_valid(&mut db, token, self.now()).await?)
    }

    /// Creates a registration token with a limited number of uses and lifetime.
    pub async fn create_registration_token(
        &self,
        uses_allowed: Option<u32>,
        lifetime: Option<Duration>,
    ) -> Result<String> {
        let token = random::token()?;
        let expires_ts = lifetime.map(|lifetime| self.after(lifetime));
        let uses = uses_allowed.map(i64::from);
        let mut db = self.0.database.acquire().await?;
        storage::registration::insert_token(&mut db, &token, uses, expires_ts, self.now()).await?;
        Ok(token)
    }
}
