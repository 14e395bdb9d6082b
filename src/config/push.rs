//! `[push]`: how push gateways are told of notifications.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AddressRange, problem::Findings, units::duration};

/// The longest time that a request to a push gateway may take: one process sends as long as it is sure
/// to be the only one.
const MAX_TIMEOUT: Duration = Duration::from_secs(20);

/// Requests to push gateways.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Push {
    /// Private, loopback and other special addresses of push gateways.
    pub allowed_networks: Vec<AddressRange>,
    /// How long a push gateway may take to answer.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// The longest pause before a push gateway that failed is tried again.
    #[serde(with = "duration")]
    pub max_retry_interval: Duration,
    /// How many requests are sent at the same time.
    pub parallel_requests: u32,
}

impl Default for Push {
    fn default() -> Self {
        Self {
            allowed_networks: Vec::new(),
            timeout: Duration::from_secs(10),
            max_retry_interval: Duration::from_mins(15),
            parallel_requests: 64,
        }
    }
}

impl Push {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.require(
            (Duration::from_secs(1)..=MAX_TIMEOUT).contains(&self.timeout),
            "push.timeout",
            "must be between \"1s\" and \"20s\"",
        );
        findings.require(
            self.max_retry_interval >= Duration::from_secs(1),
            "push.max_retry_interval",
            "must be at least \"1s\"",
        );
        findings.require(
            self.parallel_requests > 0,
            "push.parallel_requests",
            "must be at least 1",
        );
    }
}
