//! The handle to the other servers.

use std::{fmt, sync::Arc};

use ruma::{OwnedServerName, ServerName};
use storage::Database;
use types::Clock;

use crate::{
    OwnKeys, Policy, Result, client::Client, discovery::Ports, hierarchy::Hierarchies,
    inbound_limits::InboundLimits, keys::Keys,
};

/// Talks to other servers; cheap to clone.
#[derive(Clone)]
pub struct Federation(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) server_name: OwnedServerName,
    pub(crate) policy: Policy,
    pub(crate) client: Arc<Client>,
    pub(crate) keys: Keys,
    pub(crate) hierarchies: Hierarchies,
    pub(crate) limits: InboundLimits,
    pub(crate) clock: Clock,
}

impl Federation {
    /// Federation as `server_name`; fails if a file of certificate authorities cannot be read.
    pub fn new(
        server_name: &ServerName,
        settings: &config::Federation,
        own_keys: OwnKeys,
        database: Database,
        clock: Clock,
    ) -> Result<Self, net::Error> {
        Self::with_ports(
            server_name,
            settings,
            own_keys,
            (database, clock),
            Ports::default(),
        )
    }

    pub(crate) fn with_ports(
        server_name: &ServerName,
        settings: &config::Federation,
        own_keys: OwnKeys,
        (database, clock): (Database, Clock),
        ports: Ports,
    ) -> Result<Self, net::Error> {
        let policy = Policy::new(server_name, settings);
        let client = Arc::new(Client::new(settings, policy.clone(), ports, clock.clone())?);
        let keys = Keys::new(
            own_keys,
            database,
            clock.clone(),
            Arc::clone(&client),
            settings.notaries.clone(),
        );
        Ok(Self(Arc::new(Inner {
            server_name: server_name.to_owned(),
            policy,
            client,
            keys,
            hierarchies: Hierarchies::new(),
            limits: InboundLimits::new(),
            clock,
        })))
    }

    /// Which servers this one talks to.
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// The response to a request for this server's keys, signed.
    pub fn own_keys(&self) -> Result<String> {
        self.0.keys.own().response(self.0.clock.now_ms())
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Federation")
            .field("server_name", &self.0.server_name)
            .field("policy", &self.0.policy)
            .finish_non_exhaustive()
    }
}
