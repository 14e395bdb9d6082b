//! One file per section of the settings: its struct, its defaults, its checks.

pub(crate) mod cache;
pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod federation;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod media;
pub(crate) mod metrics;
pub(crate) mod rate_limits;
pub(crate) mod registration;
pub(crate) mod rooms;
pub(crate) mod sessions;
pub(crate) mod well_known;

use crate::{Config, problem::Findings};

impl Config {
    /// Fills in the secrets that stand in files of their own.
    pub(crate) fn read_secrets(&mut self, findings: &mut Findings) {
        self.database.read_secrets(findings);
        self.registration.read_secrets(findings);
    }

    /// Checks what a type cannot say, in every section.
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.require(
            !self.data_dir.as_os_str().is_empty(),
            "data_dir",
            "must name a directory",
        );
        self.client.validate(findings);
        self.federation.validate(findings);
        self.database.validate(findings);
        self.registration.validate(findings);
        self.sessions.validate(findings);
        self.rate_limits.validate(findings);
        self.limits.validate(findings);
        self.media.validate(findings);
        self.cache.validate(findings);
        self.well_known.validate(findings);
        self.listeners_differ(findings);
    }

    fn listeners_differ(&self, findings: &mut Findings) {
        let client = &self.client.listen;
        for (key, other) in [
            ("federation.listen", &self.federation.listen),
            ("metrics.listen", &self.metrics.listen),
        ] {
            let same = other
                .as_ref()
                .is_some_and(|other| other == client && client.port() != 0);
            findings.require(
                !same,
                key,
                "is the same address as client.listen; each listener needs its own",
            );
        }
        let same = self.metrics.listen.is_some()
            && self.metrics.listen == self.federation.listen
            && self
                .metrics
                .listen
                .as_ref()
                .is_some_and(|listen| listen.port() != 0);
        findings.require(
            !same,
            "metrics.listen",
            "is the same address as federation.listen; each listener needs its own",
        );
    }
}

/// Checks that a setting is an `http://` or `https://` URL with a host.
fn check_url(url: Option<&str>, key: &str, findings: &mut Findings) {
    let Some(url) = url else { return };
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    let good = !host.is_empty() && !url.contains(char::is_whitespace) && !url.contains(['?', '#']);
    findings.require(
        good,
        key,
        "must be a URL such as \"https://matrix.example.org\"",
    );
}
