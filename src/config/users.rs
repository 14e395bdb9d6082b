//! `[registration]`, `[sessions]`, `[presence]`, `[rate_limits]`, `[limits]`, `[rooms]`: what users may do.

use std::{path::PathBuf, time::Duration};

use ruma::RoomVersionId;
use serde::{Deserialize, Serialize};
use types::{Secret, UserLimitExceeded};

use crate::{
    ByteSize,
    network::check_url,
    problem::Findings,
    units::{duration, secret},
};

/// Who may create an account.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Who may register with a client.
    pub mode: RegistrationMode,
    /// A secret that allows to create accounts at `/_synapse/admin/v1/register`.
    #[serde(serialize_with = "secret::masked")]
    pub shared_secret: Option<Secret>,
    /// A file that holds the shared secret.
    pub shared_secret_file: Option<PathBuf>,
}

/// Who may register with a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Nobody.
    #[default]
    Closed,
    /// Users with a registration token.
    Token,
    /// Everybody.
    Open,
}

impl Registration {
    pub(crate) fn read_secrets(&mut self, findings: &mut Findings) {
        let file = self.shared_secret_file.as_deref();
        secret::read_file(
            &mut self.shared_secret,
            file,
            "registration.shared_secret",
            findings,
        );
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        let empty = self
            .shared_secret
            .as_ref()
            .is_some_and(|secret| secret.expose().is_empty());
        findings.require(!empty, "registration.shared_secret", "must not be empty");
    }
}

/// How long logins last.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sessions {
    /// How long an access token is valid for clients that can refresh it; those that cannot keep theirs.
    #[serde(with = "duration")]
    pub access_token_lifetime: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            access_token_lifetime: Duration::from_mins(5),
        }
    }
}

impl Sessions {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.require(
            self.access_token_lifetime >= Duration::from_secs(1),
            "sessions.access_token_lifetime",
            "must be at least \"1s\"",
        );
    }
}

/// Who is online.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// Whether users see who is online.
    pub enabled: bool,
}

impl Default for Presence {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// How often a user, or before login an address, may call endpoints.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Whether rate limits apply.
    pub enabled: bool,
    /// Creating accounts, per address.
    pub registration: RateLimit,
    /// Logging in, per address and per account.
    pub login: RateLimit,
    /// Sending events, redactions and state, per user.
    pub send: RateLimit,
    /// Creating and joining rooms, per user.
    pub join: RateLimit,
    /// Inviting, per user.
    pub invite: RateLimit,
    /// Uploading media, per user.
    pub upload: RateLimit,
    /// Setting the own presence, per user.
    pub presence: RateLimit,
    /// Restarting, cancelling and sending delayed events, per address.
    pub delayed_events: RateLimit,
    /// All other endpoints that the specification calls rate-limited, per user.
    pub general: RateLimit,
}

/// A steady rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Sustained requests per second.
    pub per_second: f64,
    /// Requests that may come at once.
    pub burst: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        let limit = |per_second, burst| RateLimit { per_second, burst };
        Self {
            enabled: true,
            registration: limit(0.2, 5),
            login: limit(0.2, 10),
            send: limit(10.0, 50),
            join: limit(1.0, 20),
            invite: limit(1.0, 50),
            upload: limit(2.0, 20),
            presence: limit(0.5, 20),
            delayed_events: limit(100.0, 500),
            general: limit(20.0, 100),
        }
    }
}

impl RateLimits {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let limits = [
            ("registration", self.registration),
            ("login", self.login),
            ("send", self.send),
            ("join", self.join),
            ("invite", self.invite),
            ("upload", self.upload),
            ("presence", self.presence),
            ("delayed_events", self.delayed_events),
            ("general", self.general),
        ];
        for (name, limit) in limits {
            limit.validate(&format!("rate_limits.{name}"), findings);
        }
    }
}

impl RateLimit {
    pub(crate) fn validate(&self, key: &str, findings: &mut Findings) {
        let positive = self.per_second.is_finite() && self.per_second > 0.0;
        findings.require(positive, key, "per_second must be greater than 0");
        findings.require(self.burst > 0, key, "burst must be at least 1");
    }
}

/// Limits of one user's devices, rooms, account data, reports, room keys, delayed events, threads, files and pushers, of a room's typing
/// users, and of a device's connections of sliding sync.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How many devices a user may be logged in on.
    pub devices_per_user: u32,
    /// How many rooms a user may be joined to.
    pub rooms_per_user: u32,
    /// How large all account data of a user may be, of the account and of rooms.
    pub account_data_per_user: ByteSize,
    /// How many events, rooms and users a user may have reported.
    pub reports_per_user: u32,
    /// How many room keys the backups of a user may have.
    pub backup_keys_per_user: u32,
    /// How many delayed events of a user may wait.
    pub delayed_events_per_user: u32,
    /// How many subscriptions to threads a user may have.
    pub thread_subscriptions_per_user: u32,
    /// How long an event may be delayed.
    #[serde(with = "duration")]
    pub max_event_delay: Duration,
    /// How large all files of a user may be.
    pub media_per_user: ByteSize,
    /// How many pushers a user may have.
    pub pushers_per_user: u32,
    /// How many users of a room are shown as typing.
    pub typing_users_per_room: u32,
    /// How many connections of sliding sync a device may have.
    pub sync_connections_per_device: u32,
    /// A page that explains these limits to users.
    pub info_uri: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            devices_per_user: 500,
            rooms_per_user: 10_000,
            account_data_per_user: ByteSize::mib(20),
            reports_per_user: 1_000,
            backup_keys_per_user: 1_000_000,
            delayed_events_per_user: 100,
            max_event_delay: Duration::from_hours(24),
            thread_subscriptions_per_user: 10_000,
            media_per_user: ByteSize::mib(10 * 1024),
            pushers_per_user: 50,
            typing_users_per_room: 100,
            sync_connections_per_device: 10,
            info_uri: None,
        }
    }
}

impl Limits {
    /// The error for a user with too many devices.
    pub fn too_many_devices(&self) -> UserLimitExceeded {
        self.exceeded(format!("{} devices", self.devices_per_user))
    }

    /// The error for a user in too many rooms.
    pub fn too_many_rooms(&self) -> UserLimitExceeded {
        self.exceeded(format!("{} joined rooms", self.rooms_per_user))
    }

    /// The error for a user with too much account data.
    pub fn too_much_account_data(&self) -> UserLimitExceeded {
        self.exceeded(format!("{} of account data", self.account_data_per_user))
    }

    /// The error for a user who has reported too much.
    pub fn too_many_reports(&self) -> UserLimitExceeded {
        self.exceeded(format!("{} reports", self.reports_per_user))
    }

    /// The error for a user with too many backups.
    pub fn too_many_backups(&self, limit: i64) -> UserLimitExceeded {
        self.exceeded(format!("{limit} key backups"))
    }

    /// The error for a user with too many keys in backups.
    pub fn too_many_backup_keys(&self) -> UserLimitExceeded {
        self.exceeded(format!(
            "{} room keys in backups",
            self.backup_keys_per_user
        ))
    }

    /// The error for a user with too many delayed events.
    pub fn too_many_delayed_events(&self) -> UserLimitExceeded {
        self.exceeded(format!("{} delayed events", self.delayed_events_per_user))
    }

    /// The error for a user with too many subscriptions to threads.
    pub fn too_many_thread_subscriptions(&self) -> UserLimitExceeded {
        self.exceeded(format!(
            "{} subscriptions to threads",
            self.thread_subscriptions_per_user
        ))
    }

    /// The error for files beyond the limit.
    pub fn too_much_media(&self) -> UserLimitExceeded {
        self.exceeded(format!("{} of files", self.media_per_user))
    }

    /// The error for a user with too many pushers.
    pub fn too_many_pushers(&self) -> UserLimitExceeded {
        self.exceeded(format!("{} pushers", self.pushers_per_user))
    }

    fn exceeded(&self, limit: String) -> UserLimitExceeded {
        UserLimitExceeded {
            limit,
            info_uri: self.info_uri.clone().unwrap_or_default(),
        }
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        for (key, limit) in [
            ("limits.devices_per_user", self.devices_per_user),
            ("limits.rooms_per_user", self.rooms_per_user),
            ("limits.reports_per_user", self.reports_per_user),
            ("limits.backup_keys_per_user", self.backup_keys_per_user),
            (
                "limits.delayed_events_per_user",
                self.delayed_events_per_user,
            ),
            (
                "limits.thread_subscriptions_per_user",
                self.thread_subscriptions_per_user,
            ),
            ("limits.pushers_per_user", self.pushers_per_user),
            ("limits.typing_users_per_room", self.typing_users_per_room),
            (
                "limits.sync_connections_per_device",
                self.sync_connections_per_device,
            ),
        ] {
            findings.require(limit > 0, key, "must be at least 1");
        }
        findings.require(
            self.max_event_delay >= Duration::from_secs(1),
            "limits.max_event_delay",
            "must be at least \"1s\"",
        );
        // What clients keep of their own accord for some hundred rooms.
        findings.require(
            self.account_data_per_user >= ByteSize::mib(1),
            "limits.account_data_per_user",
            "must be at least \"1 MiB\"",
        );
        check_url(self.info_uri.as_deref(), "limits.info_uri", findings);
    }
}

/// New rooms.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// The version of rooms that are created without naming one; the server checks that it supports it.
    pub default_version: RoomVersionId,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            default_version: RoomVersionId::V12,
        }
    }
}
