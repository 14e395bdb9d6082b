//! `[client]`: the client-server API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::{ByteSize, ListenAddress, problem::Findings};

/// The client-server API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// Where plain HTTP is served; a reverse proxy in front adds TLS.
    pub listen: ListenAddress,
    /// The URL under which clients reach this server.
    pub public_base_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` tells the address of a client.
    pub trusted_proxies: Vec<IpAddr>,
    /// The largest request body, uploads of media aside.
    pub max_body: ByteSize,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            listen: ListenAddress::loopback(8008),
            public_base_url: None,
            trusted_proxies: vec![
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ],
            max_body: ByteSize::mib(8),
        }
    }
}

impl Client {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        super::check_url(
            self.public_base_url.as_deref(),
            "client.public_base_url",
            findings,
        );
        // Spec: client-server, "Size limits": an event has up to 65,536 bytes, and JSON may escape each of them.
        findings.require(
            self.max_body >= ByteSize::kib(512),
            "client.max_body",
            "must be at least \"512 KiB\", or valid events would be refused",
        );
    }
}
