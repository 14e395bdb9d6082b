//! Logging in.

use std::time::Duration;

use ruma::{OwnedUserId, UserId};
use types::{Secret, random};

use crate::{
    ActiveUser, DeviceRequest, Error, Identity, Login, Result, metrics, tokens, uia::Confirmed,
};

/// How long a token for `m.login.token` is valid.
const LOGIN_TOKEN_LIFETIME: Duration = Duration::from_mins(2);

/// What a person proves at login.
#[derive(Clone, Debug)]
pub enum Proof {
    /// To know a user's password.
    Password {
        /// The user id or its local part.
        user: String,
        /// The password.
        password: Secret,
    },
    /// To hold a token that a logged-in device asked for.
    Token(Secret),
}

/// A token with which another device may log in once.
#[derive(Debug)]
pub struct LoginToken {
    /// The token.
    pub token: String,
    /// How long it is valid.
    pub expires_in: Duration,
}

impl Identity {
    /// Logs in.
    #[tracing::instrument(name = "identity.login", skip_all, err(level = "debug"))]
    pub async fn login(&self, proof: Proof, device: DeviceRequest) -> Result<Login> {
        let proved = match proof {
            Proof::Password { user, password } => self.by_password(&user, password).await,
            Proof::Token(token) => self.by_token(&token).await,
        };
        metrics::login(proved.is_ok());
        let (user_id, password_hash) = proved?;
        self.begin_session(user_id, password_hash, device).await
    }

    /// Who has that password, and the hash that it fits.
    pub(crate) async fn by_password(
        &self,
        user: &str,
        password: Secret,
    ) -> Result<(OwnedUserId, Option<String>)> {
        let user_id = self.named_user(user);
        let hash = match &user_id {
            Some(user_id) => self.password_hash(user_id).await?,
            None => None,
        };
        let fits = self.0.passwords.verify(password, hash.clone()).await?;
        let user_id = user_id.filter(|_| fits).ok_or(Error::WrongCredentials)?;
        Ok((user_id, hash))
    }

    async fn by_token(&self, token: &Secret) -> Result<(OwnedUserId, Option<String>)> {
        let hash = tokens::hash(token.expose());
        let mut db = self.0.database.acquire().await?;
        let user_id = storage::sessions::take_login_token(&mut db, &hash, self.now())
            .await?
            .ok_or(Error::WrongLoginToken)?;
        let user = storage::users::find(&mut db, &user_id).await?;
        match user {
            Some(user) if user.deactivated_ts.is_none() => Ok((user_id, None)),
            _ => Err(Error::WrongLoginToken),
        }
    }

    /// Makes a token with which another device may log in as the same user.
    pub async fn login_token(&self, user: &ActiveUser, _: Confirmed) -> Result<LoginToken> {
        let token = random::token()?;
        let mut db = self.0.database.acquire().await?;
        let expires_ts = self.after(LOGIN_TOKEN_LIFETIME);
        let hash = tokens::hash(&token);
        storage::sessions::insert_login_token(&mut db, &hash, &user.user_id, expires_ts).await?;
        Ok(LoginToken {
            token,
            expires_in: LOGIN_TOKEN_LIFETIME,
        })
    }

    /// Whether the password is the user's.
    pub(crate) async fn is_password(&self, user_id: &UserId, password: Secret) -> Result<bool> {
        let hash = self.password_hash(user_id).await?;
        self.0.passwords.verify(password, hash).await
    }

    async fn password_hash(&self, user_id: &UserId) -> Result<Option<String>> {
        let mut db = self.0.database.acquire().await?;
        let user = storage::users::find(&mut db, user_id).await?;
        Ok(user
            .filter(|user| user.deactivated_ts.is_none())
            .and_then(|user| user.password_hash))
    }
}
