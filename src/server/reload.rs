//! Applies changed settings to the running server, on SIGHUP.

use std::path::PathBuf;

use config::Loaded;
use federation::Federation;

use crate::{settings, tls::Certificate};

/// What can change while the server runs: which servers it talks to, and its certificate.
pub(crate) struct Reload {
    /// The configuration file, if one was named.
    pub(crate) file: Option<PathBuf>,
    /// The handle to the other servers.
    pub(crate) federation: Federation,
    /// The certificate of the listener for other servers.
    pub(crate) certificate: Option<Certificate>,
}

impl Reload {
    /// Reads the settings again; changes nothing if they are wrong.
    pub(crate) fn run(&self) {
        if let Some(certificate) = &self.certificate {
            certificate.reload();
        }
        let mut loaded = config::load(self.file.clone(), config::process_environment());
        settings::check(&mut loaded);
        let Loaded {
            config, problems, ..
        } = loaded;
        for problem in &problems {
            tracing::error!(%problem, "The settings were not read again: something is wrong with them");
        }
        if problems.is_empty() {
            self.federation.policy().replace(&config.federation);
            tracing::info!(
                "The settings were read again: those of [federation] about who is talked to, and about what, are in effect"
            );
        }
    }
}
