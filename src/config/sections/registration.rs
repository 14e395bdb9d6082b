//! `[registration]`: who may create an account.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use types::Secret;

use crate::{problem::Findings, units::secret};

/// Who may create an account.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Who may register with a client.
    pub mode: RegistrationMode,
    /// Lets whoever knows it create accounts at `/_synapse/admin/v1/register`.
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
    /// Whoever holds a registration token.
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
