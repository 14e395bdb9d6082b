//! Requests to servers, wherever they are: discovery, a connection pool for each, policy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use moka::sync::Cache;
use net::{AddressGuard, Endpoint, EndpointClient, Response, TrustRoots, WebClient};
use ruma::{OwnedServerName, ServerName};
use tokio::time::Instant;
use types::Clock;

use crate::{
    Error, Policy, Result,
    discovery::{Discovery, Ports},
    metrics,
};

/// The most servers with a connection pool, and how long an unused one is kept.
const MAX_POOLS: u64 = 1_000;
const POOL_IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// What a response may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The time until it has arrived as a whole.
    pub(crate) timeout: Duration,
    /// The size of its body in bytes.
    pub(crate) max_body: usize,
}

/// Sends requests to the servers that the policy allows.
#[derive(Debug)]
pub(crate) struct Client {
    policy: Policy,
    discovery: Discovery,
    guard: AddressGuard,
    roots: TrustRoots,
    peer_roots: BTreeMap<OwnedServerName, TrustRoots>,
    pools: Cache<OwnedServerName, Arc<Pool>>,
}

/// The connections to one server.
#[derive(Debug)]
struct Pool {
    endpoint: Arc<Endpoint>,
    client: EndpointClient,
}

impl Client {
    /// Fails if a file of certificate authorities cannot be read.
    pub(crate) fn new(
        settings: &config::Federation,
        policy: Policy,
        ports: Ports,
        clock: Clock,
    ) -> Result<Self, net::Error> {
        let guard = AddressGuard::new(&settings.allowed_networks);
        let roots = TrustRoots::system_and(settings.ca_file.as_deref())?;
        let dns = net::Dns::new(&settings.dns_servers)?;
        let web = WebClient::new(dns.clone(), &roots, guard.clone())?;
        let peer_roots = settings.peers.iter().filter_map(|(server, peer)| {
            let roots = TrustRoots::only(peer.ca_file.as_deref()?);
            Some(roots.map(|roots| (server.clone(), roots)))
        });
        Ok(Self {
            policy,
            discovery: Discovery::new(dns, web, settings.peers.clone(), ports, clock),
            guard,
            roots,
            peer_roots: peer_roots.collect::<Result<_, _>>()?,
            pools: Cache::builder()
                .max_capacity(MAX_POOLS)
                .time_to_idle(POOL_IDLE_TIMEOUT)
                .build(),
        })
    }

    /// Sends a request whose URI is a path and query, signed if it has to be.
    pub(crate) async fn send(
        &self,
        server: &ServerName,
        request: http::Request<Bytes>,
        limits: Limits,
    ) -> Result<Response> {
        self.policy.check(server)?;
        let started = Instant::now();
        let outcome = self.send_unchecked(server, request, limits).await;
        let outcome = outcome.map_err(|source| {
            tracing::info!(server.name = %server, error = %chain(&source), "A request to another server failed");
            Error::Unreachable {
                server: server.to_owned(),
                source,
            }
        });
        metrics::record_request(&outcome, started.elapsed().as_secs_f64());
        outcome
    }

    async fn send_unchecked(
        &self,
        server: &ServerName,
        request: http::Request<Bytes>,
        limits: Limits,
    ) -> Result<Response, Arc<net::Error>> {
        let endpoint = self.discovery.endpoint(server).await?;
        let pool = self.pool(server, endpoint)?;
        let sent = pool.client.send(request, limits.timeout, limits.max_body);
        match sent.await {
            Ok(response) => Ok(response),
            Err(error) => {
                if matches!(error, net::Error::Http(_) | net::Error::Timeout) {
                    self.discovery.forget(server).await;
                }
                Err(Arc::new(error))
            }
        }
    }

    /// The connections to a server, unless it has moved since they were made.
    fn pool(&self, server: &ServerName, endpoint: Arc<Endpoint>) -> Result<Arc<Pool>, net::Error> {
        if let Some(pool) = self.pools.get(server)
            && pool.endpoint == endpoint
        {
            return Ok(pool);
        }
        let roots = self.peer_roots.get(server).unwrap_or(&self.roots);
        let client = EndpointClient::new(&endpoint, roots, &self.guard)?;
        let pool = Arc::new(Pool { endpoint, client });
        self.pools.insert(server.to_owned(), Arc::clone(&pool));
        Ok(pool)
    }
}

/// An error and its sources in one line, for the operator.
fn chain(error: &net::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
