//! `[federation]`: the server-server API.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ListenAddress, problem::Findings};

/// The server-server API.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Federation {
    /// Where other servers connect, with TLS; nothing listens for them if it is not set.
    pub listen: Option<ListenAddress>,
    /// The certificate chain in PEM.
    pub certificate_file: Option<PathBuf>,
    /// The certificate's private key in PEM.
    pub private_key_file: Option<PathBuf>,
}

impl Federation {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        for (key, file) in [
            ("federation.certificate_file", &self.certificate_file),
            ("federation.private_key_file", &self.private_key_file),
        ] {
            match file {
                None if self.listen.is_some() => {
                    findings.add(key, "must be set, because federation.listen serves TLS");
                }
                Some(path) if !path.is_file() => {
                    findings.add(key, format!("there is no file {}", path.display()));
                }
                _ => {}
            }
        }
    }
}
