//! What every handler gets: the handles of the domain crates and a few settings.

use std::{ops::Deref, sync::Arc};

use config::WellKnown;
use identity::ActiveUser;
use ruma::OwnedServerName;
use types::{Clock, Kind};

use crate::{
    authenticate::Gate,
    error::{Error, Result},
    limits::Limits,
};

/// The state of the router; a clone costs one reference count.
#[derive(Clone)]
pub struct App(Arc<Handles>);

/// The handles, built by the server from the bottom up.
pub struct Handles {
    /// The domain of this server's users.
    pub server_name: OwnedServerName,
    /// The only source of time.
    pub clock: Clock,
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

impl Gate for App {
    async fn active_user(&self, _token: &str) -> Result<ActiveUser> {
        Err(Error::new(
            Kind::UnknownToken { soft_logout: false },
            "Unknown access token",
        ))
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn max_body(&self) -> usize {
        self.max_body
    }
}
