//! Sessions: started by a login, extended by a token refresh, ended by a logout.

use std::time::Duration;

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use storage::{
    Tx, UserChange,
    sessions::{NewToken, TokenHash},
};
use types::random;

use crate::{
    ActiveUser, Error, Identity, Result,
    devices::{check_device_text, delete_all_devices_with},
    tokens,
};

/// How many letters the server's own device ids have.
const DEVICE_ID_LETTERS: usize = 10;

/// The device that logs in.
#[derive(Clone, Debug, Default)]
pub struct DeviceRequest {
    /// The id that the client chose; an existing session on that device is replaced.
    pub device_id: Option<OwnedDeviceId>,
    /// The name of the device, if it is new.
    pub display_name: Option<String>,
    /// Whether the client can refresh its access token.
    pub refreshable: bool,
}

/// The result of a login.
#[derive(Debug)]
pub struct Login {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// The client's tokens.
    pub tokens: Tokens,
}

/// An access token and its refresh token.
#[derive(Debug)]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token, for clients that can use one.
    pub refresh_token: Option<String>,
    /// How long the access token is valid; `None` if it does not expire.
    pub expires_in: Option<Duration>,
}

/// A session created in a transaction that is still open.
pub(crate) struct NewSession {
    pub(crate) login: Login,
    /// Tokens that become invalid when the transaction commits.
    pub(crate) ended: Vec<TokenHash>,
    /// The device-list change, if the device is new.
    pub(crate) change: Option<UserChange>,
}

impl Identity {
    /// Creates a session for an authenticated user.
    ///
    /// Fails if the account was deactivated, or the password no longer has the hash that was verified.
    pub(crate) async fn begin_session(
        &self,
        user_id: OwnedUserId,
        password_hash: Option<String>,
        device: DeviceRequest,
    ) -> Result<Login> {
        let mut tx = self.0.database.begin().await?;
        let user = storage::users::lock(&mut tx, &user_id).await?;
        let is_current = user.is_some_and(|user| {
            user.deactivated_ts.is_none()
                && (password_hash.is_none() || user.password_hash == password_hash)
        });
        if !is_current {
            return Err(Error::InvalidCredentials);
        }
        let session = self.begin_session_with(&mut tx, user_id, device).await?;
        tx.commit_with(session.change.into_iter().collect()).await?;
        self.revoke_tokens(&session.ended);
        Ok(session.login)
    }

    pub(crate) async fn begin_session_with(
        &self,
        tx: &mut Tx,
        user_id: OwnedUserId,
        device: DeviceRequest,
    ) -> Result<NewSession> {
        let device_id = match device.device_id {
            Some(device_id) => device_id,
            None => random::letters(DEVICE_ID_LETTERS)?.into(),
        };
        check_device_text(device_id.as_str())?;
        if device_id.as_str().is_empty() {
            return Err(Error::InvalidParam("The device id is empty"));
        }
        device
            .display_name
            .as_deref()
            .map_or(Ok(()), check_device_text)?;
        let (now, name) = (self.now(), device.display_name.as_deref());
        // Logins of one user are serialized, so that two on one device leave one session.
        storage::users::lock(tx, &user_id).await?;
        let is_new = storage::devices::insert(tx, &user_id, &device_id, name, now).await?;
        if is_new {
            let limits = &self.0.settings.limits;
            let devices = storage::devices::count(tx, &user_id).await?;
            if devices > i64::from(limits.devices_per_user) {
                return Err(limits.too_many_devices().into());
            }
        }
        let (session_nid, ended) =
            storage::sessions::replace(tx, &user_id, &device_id, now).await?;
        let tokens = self
            .new_tokens(tx, session_nid, 1, device.refreshable)
            .await?;
        let change = UserChange::DeviceList {
            user_id: user_id.clone(),
        };
        Ok(NewSession {
            login: Login {
                user_id,
                device_id,
                tokens,
            },
            ended,
            change: is_new.then_some(change),
        })
    }

    /// Exchanges a refresh token. The old tokens stay valid until a new one is used.
    ///
    /// Spec: client-server, "Refreshing access tokens".
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens> {
        let unknown = Error::UnknownToken { soft_logout: false };
        let mut tx = self.0.database.begin().await?;
        let hash = tokens::hash(refresh_token);
        let old = storage::sessions::find_refresh_token(&mut tx, &hash)
            .await?
            .ok_or(unknown)?;
        // This is the first use of `old`, which ends what it replaced; and what it was exchanged
        // for before got lost on its way, or `old` would have ended with its first use.
        let (session, generation) = (old.session_nid, old.generation);
        let ended =
            storage::sessions::delete_other_generations(&mut tx, session, generation).await?;
        let tokens = self
            .new_tokens(&mut tx, session, generation + 1, true)
            .await?;
        tx.commit().await?;
        self.revoke_tokens(&ended);
        Ok(tokens)
    }

    /// Ends a session and deletes its device.
    pub async fn logout(&self, user: &ActiveUser) -> Result<()> {
        self.delete_devices_of(&user.user_id, std::slice::from_ref(&user.device_id))
            .await
    }

    /// Ends all sessions of a user and deletes the devices.
    pub async fn logout_all(&self, user_id: &UserId) -> Result<()> {
        let mut tx = self.0.database.begin().await?;
        let (changes, ended) = delete_all_devices_with(&mut tx, user_id, None).await?;
        tx.commit_with(changes).await?;
        self.revoke_tokens(&ended);
        Ok(())
    }

    async fn new_tokens(
        &self,
        tx: &mut Tx,
        session_nid: i64,
        generation: i64,
        refreshable: bool,
    ) -> Result<Tokens> {
        let access_token = random::token()?;
        let refresh_token = refreshable.then(random::token).transpose()?;
        let expires_in = refreshable.then_some(self.0.settings.sessions.access_token_lifetime);
        let expires_ts = expires_in.map(|lifetime| self.after(lifetime));
        let access = NewToken {
            hash: tokens::hash(&access_token),
            is_refresh: false,
            generation,
            expires_ts,
        };
        let refresh = refresh_token.as_ref().map(|token| NewToken {
            hash: tokens::hash(token),
            is_refresh: true,
            generation,
            expires_ts: None,
        });
        let rows: Vec<NewToken> = [Some(access), refresh].into_iter().flatten().collect();
        storage::sessions::insert_tokens(tx, session_nid, &rows).await?;
        Ok(Tokens {
            access_token,
            refresh_token,
            expires_in,
        })
    }

    /// The timestamp `duration` from now, in milliseconds since the epoch.
    pub(crate) fn after(&self, duration: Duration) -> i64 {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.now().saturating_add(millis)
    }
}
