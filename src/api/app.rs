//! The router state: the handles of the domain crates and a few settings.

use std::{net::IpAddr, ops::Deref, sync::Arc};

use bytes::Bytes;
use config::WellKnown;
use delivery::Delivery;
use e2ee::Keys;
use federation::{Credentials, Federation};
use http::request::Parts;
use identity::{Caller, Identity};
use live::Live;
use media::Media;
use push::Push;
use room::Rooms;
use ruma::{OwnedServerName, UserId};
use sync::SyncResponder;
use types::Clock;

use crate::{authenticate::ApiState, error::Result, limits::Limits};

/// The state of the router; a clone costs one reference count.
#[derive(Clone)]
pub struct App(Arc<Handles>);

/// The handles, built by the server in dependency order.
pub struct Handles {
    /// The server name.
    pub server_name: OwnedServerName,
    /// The clock.
    pub clock: Clock,
    /// Other servers.
    pub federation: Federation,
    /// What is sent to other servers.
    pub delivery: Delivery,
    /// Users.
    pub identity: Identity,
    /// In-memory timelines.
    pub live: Live,
    /// Rooms.
    pub rooms: Rooms,
    /// `/sync`.
    pub sync: SyncResponder,
    /// Encryption keys and to-device messages.
    pub keys: Keys,
    /// Media.
    pub media: Media,
    /// Pushers.
    pub push: Push,
    /// Rate limits.
    pub limits: Limits,
    /// The largest request body of an authenticated caller, in bytes.
    pub max_body: usize,
    /// The base URL of the client API.
    pub base_url: String,
    /// The contents of `/.well-known/matrix/`.
    pub well_known: WellKnown,
}

impl App {
    /// The state with these handles.
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
    /// A user's profile for membership events; empty for remote users.
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

impl ApiState for App {
    async fn caller(&self, token: &str, address: IpAddr) -> Result<Caller> {
        let caller = self.identity.authenticate(token).await?;
        self.identity.record_last_seen(&caller, address);
        // The request's span was opened before authentication.
        tracing::Span::current().record("user.id", caller.user_id().as_str());
        Ok(caller)
    }

    fn credentials(&self, head: &Parts) -> Result<Credentials> {
        let credentials = self.federation.credentials(&head.headers)?;
        // The request's span was opened before authentication.
        tracing::Span::current().record("server.name", credentials.origin().as_str());
        Ok(credentials)
    }

    async fn verify_signature(
        &self,
        credentials: &Credentials,
        head: &Parts,
        body: &Bytes,
    ) -> Result<()> {
        let verified = self
            .federation
            .verify(credentials, &head.method, &head.uri, body);
        verified.await?;
        self.delivery.contacted(credentials.origin());
        Ok(())
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn max_body(&self) -> usize {
        self.max_body
    }
}
