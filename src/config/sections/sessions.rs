//! `[sessions]`: how long logins last.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{problem::Findings, units::duration};

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
