//! Requests to one server at known addresses.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, header};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use crate::{
    AddressGuard, Error, Pace, Response, StreamedResponse, TrustRoots, USER_AGENT, error::Denied,
    response,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are closed after this time, before most servers close them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
const MAX_IDLE_CONNECTIONS: usize = 4;

/// Where a server is, and as whom it identifies itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host name or IP address in the certificate (and in SNI, for names), without a port; an IPv6 address is
    /// in brackets.
    pub host: String,
    /// The `Host` header: the host, with a port where the server's name has one.
    pub host_header: String,
    /// The addresses to connect to, in this order; at least one.
    pub addresses: Vec<SocketAddr>,
}

/// A client of one [`Endpoint`], with a connection pool of its own. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EndpointClient {
    client: reqwest::Client,
    base: Url,
    /// The `Host` header, where it is not what the URL says.
    host_header: Option<HeaderValue>,
}

impl EndpointClient {
    /// A client that trusts `roots`; connects only where `guard` allows it.
    pub fn new(
        endpoint: &Endpoint,
        roots: &TrustRoots,
        guard: &AddressGuard,
    ) -> Result<Self, Error> {
        let bad_url = || Error::Url(endpoint.host_header.clone());
        let base = match (ip_literal(&endpoint.host), endpoint.addresses.first()) {
            (Some(_), Some(address)) => format!("https://{}:{}", endpoint.host, address.port()),
            _ => format!("https://{}", endpoint.host_header),
        };
        let base = base.parse::<Url>().map_err(|_| bad_url())?;
        // The HTTP client connects to an address in the URL without asking the resolver, hence the guard, below. A name
        // such as `2130706433` is an address to the URL standard, but is none to Matrix.
        if let Some(address) = ip_literal(base.host_str().unwrap_or_default()) {
            if ip_literal(&endpoint.host) != Some(address) {
                return Err(bad_url());
            }
            guard.check(address)?;
        }
        // HTTP/2 names the host as the URL does; where the `Host` header has to differ, it is HTTP/1.1.
        let same_host = authority(&base) == endpoint.host_header;
        let addresses = FixedAddresses {
            addresses: endpoint.addresses.as_slice().into(),
            guard: guard.clone(),
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(roots.client_config(same_host)?)
            .dns_resolver(addresses)
            .no_proxy()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .tcp_nodelay(true)
            .user_agent(USER_AGENT)
            .build()
            .map_err(Error::Client)?;
        let host_header = endpoint.host_header.parse().map_err(|_| bad_url())?;
        Ok(Self {
            client,
            base,
            host_header: (!same_host).then_some(host_header),
        })
    }

    /// Sends a request whose URI is a path and query.
    ///
    /// The response must arrive within `timeout` as a whole and have a body of at most `max_body` bytes.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Response, Error> {
        let request = self.request(request)?.timeout(timeout);
        response::read(request.send().await?, max_body).await
    }

    /// Sends a request whose URI is a path and query; the body of the response is read as it arrives.
    pub async fn open(
        &self,
        request: http::Request<Bytes>,
        pace: Pace,
    ) -> Result<StreamedResponse, Error> {
        StreamedResponse::open(self.request(request)?, pace).await
    }

    fn request(&self, request: http::Request<Bytes>) -> Result<reqwest::RequestBuilder, Error> {
        let (head, body) = request.into_parts();
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let url = self.base.join(target);
        let url = url.ok().filter(|url| request_target(url) == target);
        // One that the URL standard would rewrite is not sent: its signature would not match.
        let url = url.ok_or_else(|| Error::Url(target.to_owned()))?;
        let mut headers = head.headers;
        if let Some(host) = &self.host_header {
            headers.insert(header::HOST, host.clone());
        }
        let request = self.client.request(head.method, url);
        Ok(request.headers(headers).body(body))
    }
}

/// The address that a host is; an IPv6 address is in brackets.
pub(crate) fn ip_literal(host: &str) -> Option<IpAddr> {
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(host) => host.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// The host, and the port if it is not the usual one.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The path and query, as they are sent.
fn request_target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Resolves every name to the addresses of the endpoint.
struct FixedAddresses {
    addresses: Arc<[SocketAddr]>,
    guard: AddressGuard,
}

impl Resolve for FixedAddresses {
    fn resolve(&self, _name: Name) -> Resolving {
        let result = allowed(&self.guard, self.addresses.iter().copied());
        Box::pin(async move { result })
    }
}

/// The addresses that may be connected to; an error if there is none.
pub(crate) fn allowed(
    guard: &AddressGuard,
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
    let mut denied = None;
    let mut allowed = Vec::new();
    for address in addresses {
        match guard.check(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(_) => denied = Some(Denied(address.ip())),
        }
    }
    match denied {
        Some(denied) if allowed.is_empty() => Err(Box::new(denied)),
        _ => Ok(Box::new(allowed.into_iter())),
    }
}
