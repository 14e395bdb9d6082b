//! Finds out where a server is.
//!
//! Spec: server-server, "Resolving server names".

mod services;
mod well_known;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use config::Peer;
use futures::future::join_all;
use moka::{Expiry, future::Cache};
use net::{Dns, Endpoint, ResolvedAddresses, WebClient};
use ruma::{OwnedServerName, ServerName};
use types::Clock;

use well_known::WellKnown;
pub(crate) use well_known::read as read_well_known;

/// The port of servers that name none.
const DEFAULT_PORT: u16 = 8448;
/// The port of `.well-known`.
const HTTPS_PORT: u16 = 443;
/// How long a place is remembered: as long as DNS says, within these bounds.
const MIN_TTL: Duration = Duration::from_secs(30);
const MAX_TTL: Duration = Duration::from_hours(1);
/// How long a server that could not be found is not looked for again.
const FAILURE_TTL: Duration = Duration::from_secs(30);
/// The most servers that are remembered.
const CAPACITY: u64 = 10_000;
/// The most addresses that are tried.
const MAX_ADDRESSES: usize = 16;

type Result<T, E = Arc<net::Error>> = std::result::Result<T, E>;

/// The well-known ports of servers; tests listen on others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// Where `.well-known` is served.
    pub(crate) https: u16,
    /// Where servers are that name no port.
    pub(crate) default: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            https: HTTPS_PORT,
            default: DEFAULT_PORT,
        }
    }
}

/// Server discovery with its caches. Simultaneous lookups of one server are joined into one.
#[derive(Debug)]
pub(crate) struct Discovery {
    dns: Dns,
    well_known: WellKnown,
    peers: BTreeMap<OwnedServerName, Peer>,
    ports: Ports,
    found: Cache<OwnedServerName, Found>,
}

/// The outcome of a lookup, and how long it is kept.
#[derive(Clone, Debug)]
struct Found {
    endpoint: Result<Arc<Endpoint>>,
    ttl: Duration,
}

struct ByTtl;

impl Expiry<OwnedServerName, Found> for ByTtl {
    fn expire_after_create(
        &self,
        _: &OwnedServerName,
        found: &Found,
        _: Instant,
    ) -> Option<Duration> {
        Some(found.ttl)
    }
}

impl Discovery {
    pub(crate) fn new(
        dns: Dns,
        web: WebClient,
        peers: BTreeMap<OwnedServerName, Peer>,
        ports: Ports,
        clock: Clock,
    ) -> Self {
        Self {
            dns,
            well_known: WellKnown::new(web, ports.https, clock),
            peers,
            ports,
            found: Cache::builder()
                .max_capacity(CAPACITY)
                .expire_after(ByTtl)
                .build(),
        }
    }

    /// Where a server is.
    pub(crate) async fn endpoint(&self, server: &ServerName) -> Result<Arc<Endpoint>> {
        let lookup = async {
            let (endpoint, ttl) = match self.find(server).await {
                Ok((endpoint, ttl)) => (Ok(Arc::new(endpoint)), ttl.clamp(MIN_TTL, MAX_TTL)),
                Err(error) => (Err(error), FAILURE_TTL),
            };
            tracing::debug!(server.name = %server, ?endpoint, "Looked for a server");
            Found { endpoint, ttl }
        };
        self.found
            .get_with(server.to_owned(), Box::pin(lookup))
            .await
            .endpoint
    }

    /// Looks for a server anew when it is needed next: it could not be reached where it was.
    pub(crate) async fn forget(&self, server: &ServerName) {
        self.found.invalidate(server).await;
    }

    async fn find(&self, server: &ServerName) -> Result<(Endpoint, Duration)> {
        if let Some(peer) = self.peers.get(server)
            && let Some(address) = &peer.address
        {
            let host = peer.host.as_deref().unwrap_or(server).host();
            return self.at(address, host, host).await;
        }
        if server.is_ip_literal() || server.port().is_some() {
            return self.at(server, server.host(), server.as_str()).await;
        }
        let Some(delegated) = self.well_known.delegation(server.host()).await else {
            return self.by_services(server.host()).await;
        };
        if delegated.is_ip_literal() || delegated.port().is_some() {
            return self
                .at(&delegated, delegated.host(), delegated.as_str())
                .await;
        }
        self.by_services(delegated.host()).await
    }

    /// A server at the host and port of `address`, which has a certificate for `host`.
    async fn at(
        &self,
        address: &ServerName,
        host: &str,
        host_header: &str,
    ) -> Result<(Endpoint, Duration)> {
        let port = address.port().unwrap_or(self.ports.default);
        let found = self.addresses(address.host()).await?;
        Ok(endpoint(host, host_header, &found, port))
    }

    /// A server whose name has no port: by its SRV records, or at the default port.
    async fn by_services(&self, host: &str) -> Result<(Endpoint, Duration)> {
        let Some(services) = services::of(&self.dns, host).await else {
            let found = self.addresses(host).await?;
            return Ok(endpoint(host, host, &found, self.ports.default));
        };
        let targets = services.services.iter();
        let lookups = targets.map(async |service| {
            let found = self.addresses(&service.target).await;
            found.map(|found| (found, service.port))
        });
        let mut ttl = services.ttl;
        let mut addresses = Vec::new();
        let mut failure = None;
        for lookup in join_all(lookups).await {
            match lookup {
                Ok((found, port)) => {
                    ttl = ttl.min(found.ttl);
                    let found = found.addresses.into_iter();
                    addresses.extend(found.map(|address| SocketAddr::new(address, port)));
                }
                Err(error) => failure = Some(error),
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            return Err(failure.unwrap_or_else(|| no_address(host)));
        }
        let endpoint = Endpoint {
            host: host.to_owned(),
            host_header: host.to_owned(),
            addresses,
        };
        Ok((endpoint, ttl))
    }

    async fn addresses(&self, host: &str) -> Result<ResolvedAddresses> {
        if let Some(address) = ip_literal(host) {
            return Ok(ResolvedAddresses {
                addresses: vec![address],
                ttl: MAX_TTL,
            });
        }
        let found = self.dns.addresses(host).await?;
        if found.addresses.is_empty() {
            return Err(no_address(host));
        }
        Ok(found)
    }
}

fn endpoint(
    host: &str,
    host_header: &str,
    found: &ResolvedAddresses,
    port: u16,
) -> (Endpoint, Duration) {
    let addresses = found.addresses.iter();
    let endpoint = Endpoint {
        host: host.to_owned(),
        host_header: host_header.to_owned(),
        addresses: addresses
            .map(|address| SocketAddr::new(*address, port))
            .collect(),
    };
    (endpoint, found.ttl)
}

fn ip_literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

fn no_address(host: &str) -> Arc<net::Error> {
    Arc::new(net::Error::NoAddress(host.to_owned()))
}

#[cfg(test)]
mod tests;
