//! Users: accounts, login, sessions, devices, profiles, account data.

mod account_data;
mod accounts;
mod authenticate;
mod caller;
mod dehydrated;
mod devices;
mod error;
mod filters;
mod invite_permission;
mod last_seen;
mod local_notifications;
mod login;
mod maintenance;
mod metrics;
mod openid;
mod passwords;
mod profile;
mod push_rules;
mod registration;
mod sessions;
mod shared_secret;
mod tags;
#[cfg(test)]
mod tests;
mod tokens;
mod turn;
pub mod uia;
mod user_directory;
mod usernames;

use std::sync::Arc;

use ruma::OwnedServerName;
use storage::{Committer, Database};
use types::Clock;

pub use accounts::NewUser;
pub use caller::{ActiveUser, AppServiceUser, Caller};
pub use error::{Error, Result};
pub use login::{LoginCredentials, LoginToken};
pub use openid::OpenIdToken;
pub use profile::Profile;
pub use push_rules::PushRuleId;
pub use registration::RegistrationRequest;
pub use sessions::{DeviceRequest, Login, Tokens};
pub use shared_secret::SharedSecretRequest;
pub use storage::{devices::Device, user_directory::DirectoryEntry};
pub use turn::TurnCredentials;

use authenticate::TokenCache;
use last_seen::LastSeenCache;
use passwords::Passwords;

/// The settings of this crate.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Registration.
    pub registration: config::Registration,
    /// Session lifetimes.
    pub sessions: config::Sessions,
    /// How many devices and how much account data a user may have.
    pub limits: config::Limits,
    /// TURN servers.
    pub turn: config::Turn,
    /// Whom searches for users find.
    pub user_directory: config::UserDirectory,
    /// The budget of the access-token cache, in bytes.
    pub token_cache_bytes: u64,
}

/// The users of this server: cheap to clone, shared by all.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    database: Database,
    committer: Committer,
    clock: Clock,
    server_name: OwnedServerName,
    passwords: Passwords,
    tokens: TokenCache,
    last_seen: LastSeenCache,
}

impl Identity {
    /// A handle to the users of `server_name` in `database`.
    pub fn new(
        settings: Settings,
        database: Database,
        committer: Committer,
        clock: Clock,
        server_name: OwnedServerName,
    ) -> Self {
        Self(Arc::new(Inner {
            tokens: TokenCache::new(settings.token_cache_bytes),
            passwords: Passwords::new(),
            last_seen: LastSeenCache::default(),
            settings,
            database,
            committer,
            clock,
            server_name,
        }))
    }

    /// The current time in milliseconds since the epoch, as the database stores it.
    fn now(&self) -> i64 {
        i64::try_from(self.0.clock.now_ms()).unwrap_or(i64::MAX)
    }
}
