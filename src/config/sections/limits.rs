//! `[limits]`: what one user may have.

use serde::{Deserialize, Serialize};
use types::UserLimitExceeded;

use crate::{ByteSize, problem::Findings};

/// What one user may have.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How many devices a user may be logged in on.
    pub devices_per_user: u32,
    /// How many rooms a user may be joined to.
    pub rooms_per_user: u32,
    /// How large all account data of a user may be, of the account and of rooms.
    pub account_data_per_user: ByteSize,
    /// A page that explains these limits to users.
    pub info_uri: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            devices_per_user: 500,
            rooms_per_user: 10_000,
            account_data_per_user: ByteSize::mib(20),
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
        ] {
            findings.require(limit > 0, key, "must be at least 1");
        }
        // What clients keep of their own accord for some hundred rooms.
        findings.require(
            self.account_data_per_user >= ByteSize::mib(1),
            "limits.account_data_per_user",
            "must be at least \"1 MiB\"",
        );
        super::check_url(self.info_uri.as_deref(), "limits.info_uri", findings);
    }
}
