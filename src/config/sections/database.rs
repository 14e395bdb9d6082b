//! `[database]`: PostgreSQL.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use types::Secret;

use crate::{problem::Findings, units::secret};

/// PostgreSQL: an existing server, or one that Chancery manages under the data directory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// An existing PostgreSQL, 14 or newer; without it Chancery manages its own.
    #[serde(serialize_with = "secret::masked")]
    pub url: Option<Secret>,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// How many connections this process opens at most.
    pub max_connections: u32,
    /// Where the programs of the managed PostgreSQL are; found by itself if not set.
    pub bin_dir: Option<PathBuf>,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            max_connections: 20,
            bin_dir: None,
        }
    }
}

impl Database {
    pub(crate) fn read_secrets(&mut self, findings: &mut Findings) {
        secret::read_file(
            &mut self.url,
            self.url_file.as_deref(),
            "database.url",
            findings,
        );
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        if let Some(url) = &self.url {
            let postgres = ["postgres://", "postgresql://"]
                .iter()
                .any(|scheme| url.expose().starts_with(scheme));
            findings.require(postgres, "database.url", "must start with postgres://");
            findings.require(
                self.bin_dir.is_none(),
                "database.bin_dir",
                "has no effect together with database.url; remove one of them",
            );
        }
        // The committer and the listener for notifications hold one each.
        findings.require(
            self.max_connections >= 4,
            "database.max_connections",
            "must be at least 4",
        );
        findings.require(
            self.url.is_some() || self.max_connections <= 56,
            "database.max_connections",
            "must be at most 56 with the managed PostgreSQL, which takes 64 in all",
        );
    }
}
