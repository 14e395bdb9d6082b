//! `[media]`: uploaded files.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, problem::Findings};

/// Uploaded files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// The largest file that can be uploaded.
    pub max_upload_size: ByteSize,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            max_upload_size: ByteSize::mib(50),
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
    }
}
