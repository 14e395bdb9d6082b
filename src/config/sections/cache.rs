//! `[cache]`: memory for caches.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, problem::Findings};

/// Memory for caches.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// How much all caches together may hold.
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
