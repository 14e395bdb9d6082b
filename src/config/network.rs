//! `[client]`, `[well_known]`: the listener for clients, and how clients and servers find this server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ruma::{OwnedServerName, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::{ByteSize, ListenAddress, problem::Findings};

/// The client-server API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// The address of the listener, plain HTTP; a reverse proxy adds TLS.
    pub listen: ListenAddress,
    /// The URL under which clients reach this server.
    pub public_base_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is taken as the address of the client.
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
        check_url(
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

/// The contents of `/.well-known/matrix/`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WellKnown {
    /// The base URL for clients; `client.public_base_url` if not set.
    pub client_base_url: Option<String>,
    /// The host and port for other servers; `/.well-known/matrix/server` is not served if not set.
    pub server: Option<OwnedServerName>,
    /// A help page for users.
    pub support_page: Option<String>,
    /// The contacts for users and other administrators.
    pub support_contacts: Vec<SupportContact>,
}

/// A contact for this server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SupportContact {
    /// `m.role.admin` or `m.role.security`.
    pub role: String,
    /// How to reach it on Matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix_id: Option<OwnedUserId>,
    /// How to reach it by mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_address: Option<String>,
}

impl WellKnown {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        check_url(
            self.client_base_url.as_deref(),
            "well_known.client_base_url",
            findings,
        );
        check_url(
            self.support_page.as_deref(),
            "well_known.support_page",
            findings,
        );
        // Spec: client-server, "GET /.well-known/matrix/support": a contact has at least one way to reach it.
        let reachable = |contact: &SupportContact| {
            contact.matrix_id.is_some() || contact.email_address.is_some()
        };
        findings.require(
            self.support_contacts.iter().all(reachable),
            "well_known.support_contacts",
            "each contact needs a matrix_id or an email_address",
        );
    }
}

/// Checks that a setting is an `http://` or `https://` URL with a host.
pub(crate) fn check_url(url: Option<&str>, key: &str, findings: &mut Findings) {
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
