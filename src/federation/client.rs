//! Requests to servers, wherever they are: discovery, a connection pool for each, policy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use moka::sync::Cache;
use net::{
    AddressGuard, Endpoint, EndpointClient, Pace, Response, StreamedResponse, TrustRoots, WebClient,
};
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
    web: WebClient,
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
            discovery: Discovery::new(dns, web.clone(), settings.peers.clone(), ports, clock),
            web,
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
        let sent = async {
            let pool = self.connect(server).await?;
            let sent = pool.client.send(request, limits.timeout, limits.max_body);
            sent.await.map_err(Arc::new)
        };
        let sent = sent.await;
        self.outcome(server, started, sent).await
    }

    /// The same with a response whose body is read as it arrives.
    pub(crate) async fn open(
        &self,
        server: &ServerName,
        request: http::Request<Bytes>,
        pace: Pace,
    ) -> Result<StreamedResponse> {
        self.policy.check(server)?;
        let started = Instant::now();
        let opened = async {
            let pool = self.connect(server).await?;
            pool.client.open(request, pace).await.map_err(Arc::new)
        };
        let opened = opened.await;
        self.outcome(server, started, opened).await
    }

    /// Opens a URL that a server has given; it may lead to any host, but not into this server's own network.
    pub(crate) async fn open_url(
        &self,
        server: &ServerName,
        url: &str,
        pace: Pace,
    ) -> Result<StreamedResponse> {
        let started = Instant::now();
        let opened = self.web.open(url, pace).await;
        let outcome = opened.map_err(|error| unreachable(server, error));
        metrics::record_request(&outcome, started.elapsed().as_secs_f64());
        outcome
    }

    async fn connect(&self, server: &ServerName) -> Result<Arc<Pool>, Arc<net::Error>> {
        let endpoint = self.discovery.endpoint(server).await?;
        Ok(self.pool(server, endpoint)?)
    }

    /// Records how a request to a server has ended; the server is looked for anew if it may be elsewhere.
    async fn outcome<T>(
        &self,
        server: &ServerName,
        started: Instant,
        outcome: Result<T, Arc<net::Error>>,
    ) -> Result<T> {
        if let Err(error) = &outcome
            && matches!(**error, net::Error::Http(_) | net::Error::Timeout)
        {
            self.discovery.forget(server).await;
        }
        let outcome = outcome.map_err(|source| unreachable(server, source));
        metrics::record_request(&outcome, started.elapsed().as_secs_f64());
        outcome
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

/// The error when a request has failed, which is logged.
pub(crate) fn unreachable(server: &ServerName, source: impl Into<Arc<net::Error>>) -> Error {
    let source = source.into();
    tracing::info!(server.name = %server, error = %chain(&source), "A request to another server failed");
    Error::Unreachable {
        server: server.to_owned(),
        source,
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
