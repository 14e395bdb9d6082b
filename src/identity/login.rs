//! Login.

use std::time::Duration;

use ruma::{OwnedUserId, UserId};
use types::{Secret, random};

use crate::{DeviceRequest, Error, Identity, Login, Result, metrics, tokens, uia::Confirmed};

/// How long a token for `m.login.token` is valid.
const LOGIN_TOKEN_LIFETIME: Duration = Duration::from_mins(2);

/// How a login is authenticated.
#[derive(Clone, Debug)]
pub enum LoginCredentials {
    /// With a password.
    Password {
        /// The user id or its localpart.
        user: String,
        /// The password.
        password: Secret,
    },
    /// With a login token that a logged-in device requested.
    Token(Secret),
}

/// A token with which another device can log in once.
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
    pub async fn login(
        &self,
        credentials: LoginCredentials,
        device: DeviceRequest,
    ) -> Result<Login> {
        let verified = match credentials {
            LoginCredentials::Password { user, password } => {
                self.verify_password(&user, password).await
            }
            LoginCredentials::Token(token) => self.redeem_login_token(&token).await,
        };
        metrics::record_login(verified.is_ok());
        let (user_id, password_hash) = verified?;
        self.begin_session(user_id, password_hash, device).await
    }

    /// Verifies a password; returns the user and the hash that it matched.
    pub(crate) async fn verify_password(
        &self,
        user: &str,
        password: Secret,
    ) -> Result<(OwnedUserId, Option<String>)> {
        let user_id = self.parse_user(user);
        let hash = match &user_id {
            Some(user_id) => self.password_hash(user_id).await?,
            None => None,
        };
        let is_valid = self.0.passwords.verify(password, hash.clone()).await?;
        let user_id = user_id
            .filter(|_| is_valid)
            .ok_or(Error::InvalidCredentials)?;
        Ok((user_id, hash))
    }

    async fn redeem_login_token(&self, token: &Secret) -> Result<(OwnedUserId, Option<String>)> {
        let hash = tokens::hash(token.expose());
        let mut db = self.0.database.acquire().await?;
        let user_id = storage::sessions::consume_login_token(&mut db, &hash, self.now())
            .await?
            .ok_or(Error::InvalidLoginToken)?;
        let user = storage::users::find(&mut db, &user_id).await?;
        match user {
            Some(user) if user.deactivated_ts.is_none() => Ok((user_id, None)),
            _ => Err(Error::InvalidLoginToken),
        }
    }

    /// Creates a token with which another device can log in as the same user.
    pub async fn login_token(&self, user_id: &UserId, _: Confirmed) -> Result<LoginToken> {
        let token = random::token()?;
        let mut db = self.0.database.acquire().await?;
        let expires_ts = self.after(LOGIN_TOKEN_LIFETIME);
        let hash = tokens::hash(&token);
        storage::sessions::insert_login_token(&mut db, &hash, user_id, expires_ts).await?;
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
