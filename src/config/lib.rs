//! The settings: typed sections, read from a file and the environment, checked as a whole.
//!
//! A crate receives only its own section. Nothing else in the program reads the environment.

mod federation;
mod keys;
mod loaded;
mod network;
mod problem;
mod push;
mod search;
mod sources;
mod storage;
mod telemetry;
mod turn;
mod units;
mod users;

use std::path::PathBuf;

use ruma::{OwnedServerName, owned_server_name};
use serde::{Deserialize, Serialize};

pub use federation::{Federation, FederationMode, Peer, ServerPattern};
pub use loaded::{Loaded, Setting};
pub use network::{Client, SupportContact, WellKnown};
pub use problem::{Origin, Problem};
pub use push::Push;
pub use search::{Search, UserDirectory, UserSearch};
pub use sources::{load, process_environment};
pub use storage::{Cache, Database, Media};
pub use telemetry::{Log, LogFormat, Metrics};
pub use turn::Turn;
pub use units::{AddressRange, ByteSize, ListenAddress};
pub use users::{
    Limits, Presence, RateLimit, RateLimits, Registration, RegistrationMode, Rooms, Sessions,
};

use problem::Findings;

/// Every setting of the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The domain in user ids, room aliases and federation; it can never change.
    pub server_name: OwnedServerName,
    /// The directory of media and of the managed PostgreSQL.
    pub data_dir: PathBuf,
    /// The client-server API.
    pub client: Client,
    /// The server-server API.
    pub federation: Federation,
    /// PostgreSQL.
    pub database: Database,
    /// Who may create an account.
    pub registration: Registration,
    /// How long logins last.
    pub sessions: Sessions,
    /// Who is online.
    pub presence: Presence,
    /// Requests to push gateways.
    pub push: Push,
    /// How often a user or address may call endpoints.
    pub rate_limits: RateLimits,
    /// Limits of one user's devices, rooms and account data, and of a room's typing users.
    pub limits: Limits,
    /// New rooms.
    pub rooms: Rooms,
    /// TURN servers.
    pub turn: Turn,
    /// Whom searches for users find.
    pub user_directory: UserDirectory,
    /// How messages are searched.
    pub search: Search,
    /// Uploaded files.
    pub media: Media,
    /// Memory for caches.
    pub cache: Cache,
    /// The internal listener for Prometheus.
    pub metrics: Metrics,
    /// Logging.
    pub log: Log,
    /// The contents of `/.well-known/matrix/`.
    pub well_known: WellKnown,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server_name: owned_server_name!("localhost"),
            data_dir: PathBuf::from("./data"),
            client: Client::default(),
            federation: Federation::default(),
            database: Database::default(),
            registration: Registration::default(),
            sessions: Sessions::default(),
            presence: Presence::default(),
            push: Push::default(),
            rate_limits: RateLimits::default(),
            limits: Limits::default(),
            rooms: Rooms::default(),
            turn: Turn::default(),
            user_directory: UserDirectory::default(),
            search: Search::default(),
            media: Media::default(),
            cache: Cache::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            well_known: WellKnown::default(),
        }
    }
}

impl Config {
    /// The URL under which clients reach this server, without a slash at its end.
    ///
    /// Unless it is configured, that is the plain address of the client listener.
    pub fn public_base_url(&self) -> String {
        match &self.client.public_base_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.client.listen.reachable()),
        }
    }

    /// The limits for one user, with the page that errors refer to: without a configured one the support page, or
    /// at least this server.
    pub fn user_limits(&self) -> Limits {
        let info_uri = self.limits.info_uri.as_ref();
        let info_uri = info_uri.or(self.well_known.support_page.as_ref());
        Limits {
            info_uri: Some(info_uri.map_or_else(|| self.public_base_url(), Clone::clone)),
            ..self.limits.clone()
        }
    }

    /// Reads the secrets that are configured as files.
    pub(crate) fn read_secrets(&mut self, findings: &mut Findings) {
        self.database.read_secrets(findings);
        self.registration.read_secrets(findings);
        self.turn.read_secrets(findings);
    }

    /// Checks what types cannot express, in every section.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.require(
            !self.data_dir.as_os_str().is_empty(),
            "data_dir",
            "must name a directory",
        );
        self.client.validate(findings);
        self.federation.validate(findings);
        self.database.validate(findings);
        self.registration.validate(findings);
        self.sessions.validate(findings);
        self.push.validate(findings);
        self.rate_limits.validate(findings);
        self.limits.validate(findings);
        self.turn.validate(findings);
        self.search.validate(findings);
        self.media.validate(findings);
        self.cache.validate(findings);
        self.well_known.validate(findings);
        self.listeners_differ(findings);
    }

    fn listeners_differ(&self, findings: &mut Findings) {
        let client = &self.client.listen;
        for (key, other) in [
            ("federation.listen", &self.federation.listen),
            ("metrics.listen", &self.metrics.listen),
        ] {
            let same = other
                .as_ref()
                .is_some_and(|other| other == client && client.port() != 0);
            findings.require(
                !same,
                key,
                "is the same address as client.listen; each listener needs its own",
            );
        }
        let same = self.metrics.listen.is_some()
            && self.metrics.listen == self.federation.listen
            && self
                .metrics
                .listen
                .as_ref()
                .is_some_and(|listen| listen.port() != 0);
        findings.require(
            !same,
            "metrics.listen",
            "is the same address as federation.listen; each listener needs its own",
        );
    }
}

#[cfg(test)]
mod tests;
