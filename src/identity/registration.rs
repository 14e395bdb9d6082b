//! Registration by clients.

use std::time::Duration;

use config::RegistrationMode;
use ruma::OwnedUserId;
use types::{Secret, random};

use crate::{
    DeviceRequest, Error, Identity, Login, NewUser, Result,
    uia::{Confirmed, Stage},
};

/// How many letters the names have that the server makes up.
const MADE_UP_LETTERS: usize = 12;

/// What a client fills in to register.
#[derive(Clone, Debug)]
pub struct Application {
    /// The wanted name; the server makes one up if nothing is said.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The device on which the first session begins; `None` if no session is wanted.
    pub device: Option<DeviceRequest>,
}

impl Identity {
    /// How a client may authenticate to register; an error if it may not register at all.
    pub fn registration_flows(&self) -> Result<&'static [&'static [Stage]]> {
        match self.0.settings.registration.mode {
            RegistrationMode::Closed => Err(Error::RegistrationClosed),
            RegistrationMode::Token => Ok(&[&[Stage::RegistrationToken]]),
            RegistrationMode::Open => Ok(&[&[Stage::Dummy]]),
        }
    }

    /// Whether a name may be registered; the error says why not.
    pub async fn check_available(&self, username: &str) -> Result<()> {
        // Spec: client-server, "User-Interactive Authentication": names that bridges take begin so.
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

    /// Creates the account that a client has applied for, and logs it in if so wanted.
    #[tracing::instrument(name = "identity.register", skip_all, err(level = "debug"))]
    pub async fn register(
        &self,
        application: Application,
        confirmed: Confirmed,
    ) -> Result<(OwnedUserId, Option<Login>)> {
        let password = application
            .password
            .ok_or(Error::MissingParam("password"))?;
        let username = match application.username {
            Some(username) => username,
            None => random::letters(MADE_UP_LETTERS)?,
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
            .create_user_in(&mut tx, &user_id, &new, hash.as_deref())
            .await?;
        let mut changes: storage::Changes = [created].into_iter().collect();
        let begun = match application.device {
            Some(device) => Some(
                self.begin_session_in(&mut tx, user_id.clone(), device)
                    .await?,
            ),
            None => None,
        };
        let login = begun.map(|begun| {
            begun
                .change
                .into_iter()
                .for_each(|change| changes.push(change));
            begun.login
        });
        tx.commit_with(changes).await?;
        tracing::info!(user.id = %user_id, "An account was registered");
        Ok((user_id, login))
    }

    /// Whether a registration token may be used now.
    pub async fn is_registration_token_valid(&self, token: &str) -> Result<bool> {
        if token.contains('\0') {
            return Ok(false);
        }
        let mut db = self.0.database.acquire().await?;
        Ok(storage::registration::is_token_valid(&mut db, token, self.now()).await?)
    }

    /// Makes a registration token, good for so many accounts and so long.
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
