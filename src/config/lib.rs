//! The settings: typed sections, read from a file and the environment, checked as a whole.
//!
//! A crate receives only its own section. Nothing else in the program reads the environment.

mod fields;
mod load;
mod origin;
mod problem;
mod sections;
mod units;

use std::path::PathBuf;

use ruma::{OwnedServerName, owned_server_name};
use serde::{Deserialize, Serialize};

pub use load::{Loaded, Setting, load, process_environment};
pub use origin::Origin;
pub use problem::Problem;
pub use sections::{
    cache::Cache,
    client::Client,
    database::Database,
    federation::Federation,
    limits::Limits,
    log::{Log, LogFormat},
    media::Media,
    metrics::Metrics,
    rate_limits::{RateLimit, RateLimits},
    registration::{Registration, RegistrationMode},
    rooms::Rooms,
    sessions::Sessions,
    well_known::{SupportContact, WellKnown},
};
pub use units::{ByteSize, ListenAddress};

/// Every setting of the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The domain in user ids, room aliases and federation; it can never change.
    pub server_name: OwnedServerName,
    /// Where media and the managed database live.
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
    /// How often a user or address may do what.
    pub rate_limits: RateLimits,
    /// What one user may have.
    pub limits: Limits,
    /// New rooms.
    pub rooms: Rooms,
    /// Uploaded files.
    pub media: Media,
    /// Memory for caches.
    pub cache: Cache,
    /// The internal listener for Prometheus.
    pub metrics: Metrics,
    /// What is logged, and how.
    pub log: Log,
    /// What `/.well-known/matrix/` tells about this server.
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
            rate_limits: RateLimits::default(),
            limits: Limits::default(),
            rooms: Rooms::default(),
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
}

#[cfg(test)]
mod tests;
