//! What every handler gets: the handles of the domain crates and a few settings.

use std::{net::IpAddr, ops::Deref, sync::Arc};

use config::WellKnown;
use e2ee::Keys;
use event::Signer;
use identity::{ActiveUser, Identity};
use live::Live;
use media::Media;
use room::Rooms;
use ruma::{OwnedServerName, UserId};
use sync::Syncs;
use types::Clock;

use crate::{authenticate::Gate, error::Result, limits::Limits};

/// The state of the router; a clone costs one reference count.
#[derive(Clone)]
pub struct App(Arc<Handles>);

/// The handles, built by the server from the bottom up.
pub struct Handles {
    /// The domain of this server's users.
    pub server_name: OwnedServerName,
    /// The only source of time.
    pub clock: Clock,
    /// The server's signing key.
    pub signer: Signer,
    /// The users of this server.
    pub identity: Identity,
    /// The recent past in memory.
    pub live: Live,
    /// All rooms.
    pub rooms: Rooms,
    /// What changed for each device.
    pub syncs: Syncs,
    /// Encryption keys and messages to devices.
    pub keys: Keys,
    /// Uploaded files.
    pub media: Media,
    /// How often one user or address may call.
    pub limits: Limits,
    /// The largest body, in bytes, that a caller who is known may send.
    pub max_body: usize,
    /// The URL under which clients reach this server.
    pub base_url: String,
    /// What `/.well-known/matrix/` tells.
    pub well_known: WellKnown,
}

impl App {
    /// The state made of these handles.
    pub fn new(handles: Handles) -> Self {
        Self(Arc::new(handles))
    }
}

impl Deref for App {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

impl App {
    /// How a user shows in rooms; users of other servers show by their id.
    pub(crate) async fn profile(&self, user_id: &UserId) -> Result<room::Profile> {
        if user_id.server_name() != self.server_name {
            return Ok(room::Profile::default());
        }
        let profile = self.identity.profile(user_id).await?;
        Ok(room::Profile {
            displayname: profile.display_name().map(str::to_owned),
            avatar_url: profile.avatar_url().map(str::to_owned),
        })
    }
}

impl Gate for App {
    async fn active_user(&self, token: &str, address: IpAddr) -> Result<ActiveUser> {
        let user = self.identity.authenticate(token).await?;
        self.identity.seen(&user, address);
        // The request's span was opened before anybody knew whose request it is.
        tracing::Span::current().record("user.id", user.user_id.as_str());
        Ok(user)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn max_body(&self) -> usize {
        self.max_body
    }
}
