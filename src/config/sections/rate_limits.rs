//! `[rate_limits]`: how often a user or address may do what.

use serde::{Deserialize, Serialize};

use crate::problem::Findings;

/// How often a user, or before login an address, may do what.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Whether limits are kept at all.
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
    /// Whatever else the specification calls rate-limited, per user.
    pub general: RateLimit,
}

/// A steady rate, and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many requests a second are sustained.
    pub per_second: f64,
    /// How many requests may come at once.
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
            ("general", self.general),
        ];
        for (name, limit) in limits {
            let key = format!("rate_limits.{name}");
            let positive = limit.per_second.is_finite() && limit.per_second > 0.0;
            findings.require(positive, &key, "per_second must be greater than 0");
            findings.require(limit.burst > 0, &key, "burst must be at least 1");
        }
    }
}
