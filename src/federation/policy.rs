//! Which servers this one talks to, and about what.

use std::{collections::BTreeMap, sync::Arc};

use config::{FederationMode, Peer, RateLimit, ServerPattern};
use parking_lot::RwLock;
use ruma::{OwnedServerName, ServerName};

use crate::{Error, Result};

/// The federation policy, asked for every server name that is met. It can be replaced at run time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own_name: OwnedServerName,
    rules: RwLock<Rules>,
}

#[derive(Clone, Debug)]
struct Rules {
    mode: FederationMode,
    allowlist: Vec<ServerPattern>,
    public_rooms: bool,
    rate_limit: RateLimit,
    peers: BTreeMap<OwnedServerName, Peer>,
}

/// What is exchanged with other servers besides the events of rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Who is online.
    Presence,
    /// Who types.
    Typing,
    /// What users have read.
    Receipts,
    /// Files.
    Media,
}

impl Policy {
    /// The policy of the settings, for the server named `own_name`.
    pub fn new(own_name: &ServerName, settings: &config::Federation) -> Self {
        Self(Arc::new(Inner {
            own_name: own_name.to_owned(),
            rules: RwLock::new(Rules::new(settings)),
        }))
    }

    /// Takes the policy of other settings from now on.
    pub fn replace(&self, settings: &config::Federation) {
        *self.0.rules.write() = Rules::new(settings);
    }

    /// Whether this server talks to another one. It is always allowed itself.
    pub fn allows(&self, server_name: &ServerName) -> bool {
        *server_name == *self.0.own_name || self.0.rules.read().allow(server_name)
    }

    /// Whether something is exchanged with another server, in both directions.
    pub fn exchanges(&self, exchange: Exchange, server_name: &ServerName) -> bool {
        if *server_name == *self.0.own_name {
            return true;
        }
        let rules = self.0.rules.read();
        let peer = rules.peers.get(server_name);
        let is_exchanged = peer.is_none_or(|peer| match exchange {
            Exchange::Presence => peer.presence,
            Exchange::Typing => peer.typing,
            Exchange::Receipts => peer.receipts,
            Exchange::Media => peer.media,
        });
        is_exchanged && rules.allow(server_name)
    }

    /// An error unless files are exchanged with another server.
    pub fn check_media(&self, server_name: &ServerName) -> Result<()> {
        self.check(server_name)?;
        if self.exchanges(Exchange::Media, server_name) {
            Ok(())
        } else {
            Err(Error::NoMedia(server_name.to_owned()))
        }
    }

    /// How often another server may send requests.
    pub(crate) fn rate_limit(&self, server_name: &ServerName) -> RateLimit {
        let rules = self.0.rules.read();
        let peer = rules.peers.get(server_name);
        peer.and_then(|peer| peer.rate_limit)
            .unwrap_or(rules.rate_limit)
    }

    /// Whether this server talks to no other.
    pub fn is_closed(&self) -> bool {
        let rules = self.0.rules.read();
        match rules.mode {
            FederationMode::Closed => true,
            FederationMode::Allowlist => rules.allowlist.is_empty(),
            FederationMode::Open => false,
        }
    }

    /// An error unless this server talks to another one.
    pub fn check(&self, server_name: &ServerName) -> Result<()> {
        if self.allows(server_name) {
            Ok(())
        } else {
            Err(Error::NotAllowed(server_name.to_owned()))
        }
    }

    /// Whether other servers may read this one's public room directory.
    pub fn shows_public_rooms(&self) -> bool {
        self.0.rules.read().public_rooms
    }

    /// The patterns of the allowed servers; `None` if all are.
    pub fn allowlist(&self) -> Option<Vec<String>> {
        let rules = self.0.rules.read();
        let patterns = rules.allowlist.iter().map(ToString::to_string);
        match rules.mode {
            FederationMode::Open => None,
            FederationMode::Allowlist => Some(patterns.collect()),
            FederationMode::Closed => Some(Vec::new()),
        }
    }
}

impl Rules {
    fn new(settings: &config::Federation) -> Self {
        Self {
            mode: settings.mode,
            allowlist: settings.allowlist.clone(),
            public_rooms: settings.public_rooms,
            rate_limit: settings.rate_limit,
            peers: settings.peers.clone(),
        }
    }

    fn allow(&self, server_name: &ServerName) -> bool {
        match self.mode {
            FederationMode::Closed => false,
            FederationMode::Open => true,
            FederationMode::Allowlist => self
                .allowlist
                .iter()
                .any(|pattern| pattern.matches(server_name)),
        }
    }
}
