//! Sessions: what a login begins, a refresh continues and a logout ends.

use std::time::Duration;

use ruma::{OwnedDeviceId, OwnedUserId};
use storage::{
    Change, Tx,
    sessions::{NewToken, TokenHash},
};
use types::random;

use crate::{ActiveUser, Error, Identity, Result, devices::remove_all_in, tokens};

/// How many letters the server's own device ids have.
const DEVICE_ID_LETTERS: usize = 10;
/// The longest device id and device name that are stored, in bytes.
const MAX_DEVICE_TEXT: usize = 255;

/// The device on which a session begins.
#[derive(Clone, Debug, Default)]
pub struct DeviceRequest {
    /// An id of the client's choice; a session on that device is replaced.
    pub device_id: Option<OwnedDeviceId>,
    /// The name of the device, if it is new.
    pub display_name: Option<String>,
    /// Whether the client can refresh its access token.
    pub refreshable: bool,
}

/// A session that has just begun.
#[derive(Debug)]
pub struct Login {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// What the client authenticates with from now on.
    pub tokens: Tokens,
}

/// An access token and what renews it.
#[derive(Debug)]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token, for clients that can use one.
    pub refresh_token: Option<String>,
    /// How long the access token is valid; for ever if nothing is said.
    pub expires_in: Option<Duration>,
}

/// A session begun in a transaction that is still open.
pub(crate) struct Begun {
    pub(crate) login: Login,
    /// Tokens that are no longer valid once the transaction is committed.
    pub(crate) ended: Vec<TokenHash>,
    /// What others learn about.
    pub(crate) change: Option<Change>,
}

impl Identity {
    /// Begins a session for a user who has been authenticated, if by a password, by that of the hash.
    ///
    /// Refused when the account was closed or the password replaced since.
    pub(crate) async fn begin_session(
        &self,
        user_id: OwnedUserId,
        password_hash: Option<String>,
        device: DeviceRequest,
    ) -> Result<Login> {
        let mut tx = self.0.database.begin().await?;
        let user = storage::users::lock(&mut tx, &user_id).await?;
        let still_holds = user.is_some_and(|user| {
            user.deactivated_ts.is_none()
                && (password_hash.is_none() || user.password_hash == password_hash)
        });
        if !still_holds {
            return Err(Error::WrongCredentials);
        }
        let begun = self.begin_session_in(&mut tx, user_id, device).await?;
        tx.commit_with(begun.change.into_iter().collect()).await?;
        self.forget_tokens(&begun.ended);
        Ok(begun.login)
    }

    pub(crate) async fn begin_session_in(
        &self,
        tx: &mut Tx,
        user_id: OwnedUserId,
        device: DeviceRequest,
    ) -> Result<Begun> {
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
        // Logins of one user follow each other, so that two on one device end up with one session.
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
        let change = Change::DeviceList {
            user_id: user_id.clone(),
        };
        Ok(Begun {
            login: Login {
                user_id,
                device_id,
                tokens,
            },
            ended,
            change: is_new.then_some(change),
        })
    }

    /// Exchanges a refresh token. The old tokens stay valid until one of the new ones is used.
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
        self.forget_tokens(&ended);
        Ok(tokens)
    }

    /// Ends a session and deletes its device.
    pub async fn logout(&self, user: &ActiveUser) -> Result<()> {
        self.remove_devices(&user.user_id, std::slice::from_ref(&user.device_id))
            .await
    }

    /// Ends all sessions of a user and deletes the devices.
    pub async fn logout_all(&self, user: &ActiveUser) -> Result<()> {
        let mut tx = self.0.database.begin().await?;
        let (change, ended) = remove_all_in(&mut tx, &user.user_id, None).await?;
        tx.commit_with(change.into_iter().collect()).await?;
        self.forget_tokens(&ended);
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

    /// The moment so much later than now, in milliseconds since the epoch.
    pub(crate) fn after(&self, duration: Duration) -> i64 {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.now().saturating_add(millis)
    }
}

/// Refuses text that the database cannot hold or that is too long for a device.
pub(crate) fn check_device_text(text: &str) -> Result<()> {
    if text.len() > MAX_DEVICE_TEXT {
        return Err(Error::InvalidParam("The device id or name is too long"));
    }
    if text.contains('\0') {
        return Err(Error::InvalidParam(
            "The device id or name contains a null character",
        ));
    }
    Ok(())
}
