//! `[database]`, `[media]`, `[cache]`: where data is kept.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use types::Secret;

use crate::{
    ByteSize,
    problem::Findings,
    units::{duration, secret},
};

/// PostgreSQL: an existing server, or one that Chancery manages under the data directory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// An existing PostgreSQL, 14 or newer; without it Chancery manages its own.
    #[serde(serialize_with = "secret::masked")]
    pub url: Option<Secret>,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// The most connections that this process opens.
    pub max_connections: u32,
    /// The directory of the programs of the managed PostgreSQL; searched for if not set.
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

/// Uploaded files, and copies of other servers' files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// The largest file that can be uploaded.
    pub max_upload_size: ByteSize,
    /// The largest file that is fetched from another server.
    pub max_remote_size: ByteSize,
    /// What copies of other servers' files may take on the disk.
    pub remote_cache_size: ByteSize,
    /// How long a copy is kept that nobody asks for.
    #[serde(with = "duration")]
    pub remote_retention: Duration,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            max_upload_size: ByteSize::mib(50),
            max_remote_size: ByteSize::mib(50),
            remote_cache_size: ByteSize::mib(10 * 1024),
            remote_retention: Duration::from_hours(365 * 24),
        }
    }
}

impl Media {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.require(
            self.max_upload_size.get() > 0,
            "media.max_upload_size",
            "must be greater than 0",
        );
        findings.require(
            self.remote_cache_size >= self.max_remote_size,
            "media.remote_cache_size",
            "must be at least media.max_remote_size",
        );
        findings.require(
            self.remote_retention >= Duration::from_hours(1),
            "media.remote_retention",
            "must be at least \"1h\"",
        );
    }
}

/// Memory for caches.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// The size of all caches together.
    pub total: ByteSize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            total: ByteSize::mib(256),
        }
    }
}

impl Cache {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.require(
            self.total >= ByteSize::mib(16),
            "cache.total",
            "must be at least \"16 MiB\"",
        );
    }
}
