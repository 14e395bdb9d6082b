//! `[federation]`: the listener for other servers, which servers this one talks to, and how it reaches them.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wildmatch::WildMatch;

use crate::{AddressRange, ListenAddress, RateLimit, problem::Findings, units::duration};

/// Spec: server-server, "Publishing Keys": servers accept keys for seven days at most, and should not be given ones
/// that expire within an hour.
const KEY_VALIDITY: RangeInclusive<Duration> =
    Duration::from_hours(2)..=Duration::from_hours(7 * 24);

/// The server-server API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Federation {
    /// The servers that this one talks to, in both directions.
    pub mode: FederationMode,
    /// The servers that `allowlist` mode admits.
    pub allowlist: Vec<ServerPattern>,
    /// The address of the listener for other servers, with TLS; there is none if it is not set.
    pub listen: Option<ListenAddress>,
    /// The certificate chain in PEM.
    pub certificate_file: Option<PathBuf>,
    /// The certificate's private key in PEM.
    pub private_key_file: Option<PathBuf>,
    /// Certificate authorities that are trusted besides the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Private, loopback and other special addresses that may be connected to.
    pub allowed_networks: Vec<AddressRange>,
    /// DNS servers to ask instead of the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Whether other servers may read this one's public room directory.
    pub public_rooms: bool,
    /// Servers that are asked for the signing keys of those that do not answer themselves; none by
    /// default.
    pub notaries: Vec<OwnedServerName>,
    /// How long other servers may keep this one's signing keys without asking again.
    #[serde(with = "duration")]
    pub key_validity: Duration,
    /// The longest pause before a server that could not be reached is tried again.
    #[serde(with = "duration")]
    pub max_retry_interval: Duration,
    /// How many servers are sent to at the same time.
    pub parallel_transactions: u32,
    /// Whether other servers are told the names that users give their devices.
    pub send_device_names: bool,
    /// How often each server may send requests, transactions included.
    pub rate_limit: RateLimit,
    /// What is different for single servers.
    pub peers: BTreeMap<OwnedServerName, Peer>,
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            mode: FederationMode::default(),
            allowlist: Vec::new(),
            listen: None,
            certificate_file: None,
            private_key_file: None,
            ca_file: None,
            allowed_networks: Vec::new(),
            dns_servers: Vec::new(),
            public_rooms: false,
            notaries: Vec::new(),
            key_validity: Duration::from_hours(24),
            max_retry_interval: Duration::from_mins(10),
            parallel_transactions: 32,
            send_device_names: true,
            rate_limit: RateLimit {
                per_second: 100.0,
                burst: 1_000,
            },
            peers: BTreeMap::new(),
        }
    }
}

/// The servers that this one talks to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FederationMode {
    /// None.
    #[default]
    Closed,
    /// Those that match the allowlist.
    Allowlist,
    /// All.
    Open,
}

/// A server name, in which `*` stands for any characters and `?` for one.
#[derive(Clone, Debug)]
pub struct ServerPattern {
    text: String,
    pattern: WildMatch,
}

/// The settings of one server.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peer {
    /// The host and port to connect to; server discovery is skipped for this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<OwnedServerName>,
    /// The host name in the server's certificate and the `Host` header, if it is not the server name's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<OwnedServerName>,
    /// The certificate authorities of this server, in PEM, instead of all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether presence is exchanged with this server.
    pub presence: bool,
    /// Whether it is exchanged who types.
    pub typing: bool,
    /// Whether it is exchanged what users have read.
    pub receipts: bool,
    /// Whether files are exchanged.
    pub media: bool,
    /// How often this server may send requests, if not as often as others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            address: None,
            host: None,
            ca_file: None,
            presence: true,
            typing: true,
            receipts: true,
            media: true,
            rate_limit: None,
        }
    }
}

impl ServerPattern {
    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a server name matches. Server names are compared without regard to case.
    pub fn matches(&self, server_name: &ServerName) -> bool {
        self.pattern
            .matches(&server_name.as_str().to_ascii_lowercase())
    }
}

impl fmt::Display for ServerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for ServerPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ServerPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pattern = WildMatch::new(&text.to_ascii_lowercase());
        Ok(Self { text, pattern })
    }
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
                Some(path) => require_file(path, key, findings),
                None => {}
            }
        }
        if let Some(path) = &self.ca_file {
            require_file(path, "federation.ca_file", findings);
        }
        let is_pattern = |pattern: &ServerPattern| {
            let text = pattern.as_str();
            !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '/')
        };
        findings.require(
            self.allowlist.iter().all(is_pattern),
            "federation.allowlist",
            "must hold server names such as \"example.org\" or \"*.example.org\"",
        );
        findings.require(
            self.allowlist.is_empty() || self.mode == FederationMode::Allowlist,
            "federation.allowlist",
            "has an effect only with federation.mode = \"allowlist\"",
        );
        findings.require(
            KEY_VALIDITY.contains(&self.key_validity),
            "federation.key_validity",
            "must be between \"2h\" and \"7d\"",
        );
        findings.require(
            self.max_retry_interval >= Duration::from_secs(1),
            "federation.max_retry_interval",
            "must be at least \"1s\"",
        );
        findings.require(
            self.parallel_transactions > 0,
            "federation.parallel_transactions",
            "must be at least 1",
        );
        self.rate_limit.validate("federation.rate_limit", findings);
        for (server_name, peer) in &self.peers {
            peer.validate(server_name, findings);
        }
    }
}

impl Peer {
    fn validate(&self, server_name: &ServerName, findings: &mut Findings) {
        if let Some(path) = &self.ca_file {
            require_file(path, "federation.peers", findings);
        }
        if let Some(limit) = &self.rate_limit {
            limit.validate("federation.peers", findings);
        }
        findings.require(
            self.address.is_none() || self.host.is_some() || !server_name.is_ip_literal(),
            "federation.peers",
            "an IP address as a server name with an `address` needs a `host` too",
        );
        if let Some(host) = &self.host {
            findings.require(
                host.port().is_none() && !host.is_ip_literal(),
                "federation.peers",
                "`host` must be a host name without a port",
            );
            findings.require(
                self.address.is_some(),
                "federation.peers",
                "`host` has an effect only together with `address`",
            );
        }
    }
}

fn require_file(path: &Path, key: &str, findings: &mut Findings) {
    if !path.is_file() {
        findings.add(key, format!("there is no file {}", path.display()));
    }
}
