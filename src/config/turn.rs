//! `[turn]`: servers that relay the calls of clients that cannot reach each other.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use types::Secret;

use crate::{
    problem::Findings,
    units::{duration, secret},
};

/// TURN servers that share a secret with this server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Their URIs; none if there are no such servers.
    pub uris: Vec<String>,
    /// The secret, coturn's `static-auth-secret`.
    #[serde(serialize_with = "secret::masked")]
    pub shared_secret: Option<Secret>,
    /// A file that holds the secret.
    pub shared_secret_file: Option<PathBuf>,
    /// How long credentials are valid.
    #[serde(with = "duration")]
    pub credentials_lifetime: Duration,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            uris: Vec::new(),
            shared_secret: None,
            shared_secret_file: None,
            credentials_lifetime: Duration::from_hours(24),
        }
    }
}

impl Turn {
    pub(crate) fn read_secrets(&mut self, findings: &mut Findings) {
        let file = self.shared_secret_file.as_deref();
        secret::read_file(
            &mut self.shared_secret,
            file,
            "turn.shared_secret",
            findings,
        );
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        let are_turn = self
            .uris
            .iter()
            .all(|uri| uri.starts_with("turn:") || uri.starts_with("turns:"));
        findings.require(
            are_turn,
            "turn.uris",
            "must begin with \"turn:\" or \"turns:\"",
        );
        let secret = self.shared_secret.as_ref().map(Secret::expose);
        let is_empty = secret.is_some_and(str::is_empty);
        findings.require(!is_empty, "turn.shared_secret", "must not be empty");
        findings.require(
            self.uris.is_empty() || secret.is_some(),
            "turn.shared_secret",
            "is missing, without which turn.uris are of no use",
        );
        findings.require(
            self.credentials_lifetime >= Duration::from_mins(1),
            "turn.credentials_lifetime",
            "must be at least \"1m\"",
        );
    }
}
