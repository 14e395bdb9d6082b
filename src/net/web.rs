//! Requests for public documents, which may lead on to other hosts.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use reqwest::{
    Url,
    dns::{Name, Resolve, Resolving},
};

use crate::{
    AddressGuard, Dns, Error, Pace, Response, StreamedResponse, TrustRoots, USER_AGENT,
    endpoint::{allowed, ip_literal},
    error::Denied,
    response,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 10;

/// Fetches documents by HTTPS, over redirects, with the guard asked for every address on the way. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WebClient {
    client: reqwest::Client,
    guard: AddressGuard,
}

impl WebClient {
    /// A client that trusts `roots`; connects only where `guard` allows it.
    pub fn new(dns: Dns, roots: &TrustRoots, guard: AddressGuard) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(roots.client_config(true)?)
            .dns_resolver(GuardedDns {
                dns,
                guard: guard.clone(),
            })
            .no_proxy()
            .https_only(true)
            .redirect(redirects(guard.clone()))
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            // A document of a host is rarely wanted twice.
            .pool_max_idle_per_host(0)
            .user_agent(USER_AGENT)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { client, guard })
    }

    /// Fetches an `https:` URL. The response must arrive within `timeout`, redirects included, and have a body of at
    /// most `max_body` bytes.
    pub async fn get(
        &self,
        url: &str,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Response, Error> {
        let request = self.request(url)?.timeout(timeout);
        response::read(request.send().await?, max_body).await
    }

    /// Opens an `https:` URL; the body of the response is read as it arrives.
    pub async fn open(&self, url: &str, pace: Pace) -> Result<StreamedResponse, Error> {
        StreamedResponse::open(self.request(url)?, pace).await
    }

    fn request(&self, url: &str) -> Result<reqwest::RequestBuilder, Error> {
        let url = url.parse::<Url>().map_err(|_| Error::Url(url.to_owned()))?;
        if let Some(address) = address_of(&url) {
            self.guard.check(address)?;
        }
        Ok(self.client.get(url))
    }
}

/// Follows redirects within bounds. An IP address in a URL never reaches the resolver, so it is checked here.
fn redirects(guard: AddressGuard) -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(move |attempt| {
        let denied = address_of(attempt.url()).filter(|address| guard.check(*address).is_err());
        if let Some(address) = denied {
            return attempt.error(Denied(address));
        }
        if attempt.previous().len() > MAX_REDIRECTS || attempt.previous().contains(attempt.url()) {
            return attempt.error("too many redirects");
        }
        attempt.follow()
    })
}

pub(crate) fn address_of(url: &Url) -> Option<IpAddr> {
    ip_literal(url.host_str()?)
}

/// Resolves names by DNS; gives the addresses that may be connected to.
pub(crate) struct GuardedDns {
    pub(crate) dns: Dns,
    pub(crate) guard: AddressGuard,
}

impl Resolve for GuardedDns {
    fn resolve(&self, name: Name) -> Resolving {
        let (dns, guard) = (self.dns.clone(), self.guard.clone());
        Box::pin(async move {
            let found = dns.addresses(name.as_str()).await?;
            // The port of the URL, or the usual one, replaces 0.
            let addresses = found.addresses.into_iter();
            allowed(&guard, addresses.map(|address| SocketAddr::new(address, 0)))
        })
    }
}
