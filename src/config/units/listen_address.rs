//! Where a listener is bound.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Deserializer, Serialize, de};

/// A host (address or name) and a port to listen on, such as `127.0.0.1:8008` or `[::]:8448`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct ListenAddress {
    host: String,
    port: u16,
}

impl ListenAddress {
    /// The loopback address with a port.
    pub fn loopback(port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    /// The port; 0 lets the operating system choose one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as a client on this machine writes it.
    pub fn reachable(&self) -> String {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        match address {
            Ok(ip) if ip.is_loopback() || ip.is_unspecified() => format!("localhost:{}", self.port),
            _ => self.to_string(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let plain = !host.is_empty() && !host.contains([':', '/', ' ']);
        let bracketed = host.starts_with('[')
            && host
                .trim_matches(['[', ']'])
                .parse::<std::net::Ipv6Addr>()
                .is_ok();
        (plain || bracketed).then_some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "expected host:port, such as \"127.0.0.1:8008\", but found {text:?}"
            ))
        })
    }
}
