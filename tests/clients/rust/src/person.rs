//! A user with a client: arriving on the server and leaving it.

use anyhow::{Context, Result, bail, ensure};
use matrix_sdk::{
    Client,
    config::SyncSettings,
    ruma::{
        OwnedUserId,
        api::{
            client::{
                account::register::v3::Request as RegisterRequest,
                uiaa::{AuthData, Dummy, MatrixUserIdentifier, Password, UserIdentifier},
            },
            error::ErrorKind,
        },
    },
};
use tokio::task::JoinHandle;

use crate::inbox::{Inbox, Seen};

/// The password of every account.
pub const PASSWORD: &str = "correct horse battery staple";

/// A user, the client, and what the client has seen.
pub struct Person {
    /// The full Matrix user id.
    pub user_id: OwnedUserId,
    /// The SDK's client, with its stores in memory.
    pub client: Client,
    /// What the sync has brought.
    pub inbox: Inbox,
    sync: JoinHandle<()>,
}

/// A user who has an account and no device yet.
pub struct Registered {
    url: String,
    user_id: OwnedUserId,
}

impl Person {
    /// Makes an account whose name starts as given, without logging in.
    pub async fn register(url: &str, name: &str) -> Result<Registered> {
        let client = Client::builder().homeserver_url(url).build().await?;
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let mut request = RegisterRequest::new();
        request.username = Some(format!("{name}{}", since_epoch.as_millis()));
        request.password = Some(PASSWORD.to_owned());
        request.inhibit_login = true;
        let Err(challenge) = client.matrix_auth().register(request.clone()).await else {
            bail!("registered without user-interactive authentication");
        };
        let Some(challenge) = challenge.as_uiaa_response() else {
            return Err(challenge).context("the first request should be answered with the stages");
        };
        let mut dummy = Dummy::new();
        dummy.session = challenge.session.clone();
        request.auth = Some(AuthData::Dummy(dummy));
        let response = client.matrix_auth().register(request).await?;
        ensure!(
            response.access_token.is_none(),
            "logged in although login was inhibited"
        );
        Ok(Registered {
            url: url.to_owned(),
            user_id: response.user_id,
        })
    }

    /// Publishes a new cross-signing identity, with the password if the server asks for it.
    pub async fn bootstrap_cross_signing(&self) -> Result<()> {
        let encryption = self.client.encryption();
        if let Err(error) = encryption.bootstrap_cross_signing_if_needed(None).await {
            let Some(challenge) = error.as_uiaa_response() else {
                return Err(error.into());
            };
            let identifier =
                UserIdentifier::Matrix(MatrixUserIdentifier::new(self.user_id.to_string()));
            let mut password = Password::new(identifier, PASSWORD.to_owned());
            password.session = challenge.session.clone();
            encryption
                .bootstrap_cross_signing(Some(AuthData::Password(password)))
                .await?;
        }
        let identity = encryption
            .request_user_identity(&self.user_id)
            .await?
            .context("no identity on the server")?;
        ensure!(
            identity.is_verified(),
            "the server's copy of the identity is not ours"
        );
        let device = encryption
            .get_own_device()
            .await?
            .context("no device on the server")?;
        ensure!(
            device.is_cross_signed_by_owner(),
            "the device is not cross-signed"
        );
        Ok(())
    }

    /// Ends the sync and the session.
    pub async fn log_out(self) -> Result<()> {
        self.sync.abort();
        self.client.matrix_auth().logout().await?;
        let Err(error) = self.client.whoami().await else {
            bail!("the token still works")
        };
        match error.client_api_error_kind() {
            Some(ErrorKind::UnknownToken { .. }) => Ok(()),
            _ => Err(error).context("expected M_UNKNOWN_TOKEN"),
        }
    }
}

impl Registered {
    /// Logs in a new device and starts to sync; returns when the first sync is done.
    pub async fn log_in(self) -> Result<Person> {
        let client = Client::builder().homeserver_url(&self.url).build().await?;
        client
            .matrix_auth()
            .login_username(&self.user_id, PASSWORD)
            .initial_device_display_name("test")
            .await?;
        let (inbox, sender) = Inbox::of(&client);
        client.sync_once(SyncSettings::default()).await?;
        let syncing = client.clone();
        let sync = tokio::spawn(async move {
            let reason = match syncing.sync(SyncSettings::default()).await {
                Ok(()) => "by itself".to_owned(),
                Err(error) => error.to_string(),
            };
            // A closed channel means that nobody waits any more.
            drop(sender.send(Seen::SyncEnded { reason }));
        });
        Ok(Person {
            user_id: self.user_id,
            client,
            inbox,
            sync,
        })
    }
}
