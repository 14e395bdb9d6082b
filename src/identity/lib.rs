//! Users: accounts, login, sessions, devices, profiles, private data.

mod account_data;
mod accounts;
mod authenticate;
mod caller;
mod devices;
mod error;
mod filters;
mod housekeeping;
mod login;
mod metrics;
mod passwords;
mod profile;
mod push_rules;
mod registration;
mod sessions;
mod shared_secret;
mod sightings;
mod tags;
#[cfg(test)]
mod tests;
mod tokens;
pub mod uia;
mod usernames;

use std::sync::Arc;

use ruma::OwnedServerName;
use storage::Database;
use types::Clock;

pub use accounts::NewUser;
pub use caller::ActiveUser;
pub use error::{Error, Result};
pub use login::{LoginToken, Proof};
pub use profile::Profile;
pub use push_rules::Rule;
pub use registration::Application;
pub use sessions::{DeviceRequest, Login, Tokens};
pub use shared_secret::SharedSecretRequest;
pub use storage::devices::Device;

use authenticate::TokenCache;
use passwords::Passwords;
use sightings::Sightings;

/// What of the configuration concerns users.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may create an account.
    pub registration: config::Registration,
    /// How long logins last.
    pub sessions: config::Sessions,
    /// How many devices and how much account data a user may have.
    pub limits: config::Limits,
    /// How many bytes of memory the checked access tokens may take.
    pub token_cache_bytes: u64,
}

/// The users of this server: cheap to clone, shared by all.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    database: Database,
    clock: Clock,
    server_name: OwnedServerName,
    passwords: Passwords,
    tokens: Arc<TokenCache>,
    sightings: Sightings,
}

impl Identity {
    /// The users in `database`, whose ids end in `server_name`.
    pub fn new(
        settings: Settings,
        database: Database,
        clock: Clock,
        server_name: OwnedServerName,
    ) -> Self {
        let tokens = Arc::new(TokenCache::new(settings.token_cache_bytes));
        let known = Arc::clone(&tokens);
        database.subscribe(move |heard| known.hear(heard));
        Self(Arc::new(Inner {
            tokens,
            passwords: Passwords::new(),
            sightings: Sightings::default(),
            settings,
            database,
            clock,
            server_name,
        }))
    }

    /// Milliseconds since the epoch, as the database holds them.
    fn now(&self) -> i64 {
        i64::try_from(self.0.clock.now_ms()).unwrap_or(i64::MAX)
    }
}
