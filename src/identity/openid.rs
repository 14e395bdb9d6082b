//! Tokens with which users prove to others who they are.
//!
//! Spec: `OpenID` in client-server and server-server.

use std::time::Duration;

use ruma::{OwnedUserId, UserId};
use types::random;

use crate::{Error, Identity, Result, tokens};

/// How long a token is valid.
const LIFETIME: Duration = Duration::from_hours(1);

/// A new token.
#[derive(Clone, Debug)]
pub struct OpenIdToken {
    /// The token.
    pub token: String,
    /// How long it is valid.
    pub expires_in: Duration,
}

impl Identity {
    /// Creates a token that tells whoever has it who the user is, and lets do nothing else.
    pub async fn openid_token(&self, user_id: &UserId) -> Result<OpenIdToken> {
        let token = random::token()?;
        let expires_ts = self.after(LIFETIME);
        let mut db = self.0.database.acquire().await?;
        storage::openid::insert(&mut db, &tokens::hash(&token), user_id, expires_ts).await?;
        Ok(OpenIdToken {
            token,
            expires_in: LIFETIME,
        })
    }

    /// The user of a token.
    pub async fn openid_user(&self, token: &str) -> Result<OwnedUserId> {
        let mut db = self.0.database.acquire().await?;
        let user_id = storage::openid::user(&mut db, &tokens::hash(token), self.now()).await?;
        user_id.ok_or(Error::UnknownToken { soft_logout: false })
    }
}
