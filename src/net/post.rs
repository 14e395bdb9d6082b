//! Requests to URLs that users have named: JSON is posted, and redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http::header;
use reqwest::Url;

use crate::{
    AddressGuard, Dns, Error, Response, TrustRoots, USER_AGENT, response,
    web::{GuardedDns, address_of},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are closed after this time, before most servers close them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// An `http:` or `https:` URL to which JSON can be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostUrl(Url);

/// Posts JSON, with the guard asked for every address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PostClient {
    client: reqwest::Client,
    guard: AddressGuard,
}

impl PostUrl {
    /// Reads a URL; `None` if it is not one, has another scheme, or has credentials in it.
    pub fn parse(url: &str) -> Option<Self> {
        let url = url.parse::<Url>().ok()?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        let is_plain = url.username().is_empty() && url.password().is_none();
        (is_web && is_plain).then_some(Self(url))
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Whether there is a fragment.
    pub fn has_fragment(&self) -> bool {
        self.0.fragment().is_some()
    }

    /// Scheme, host and port, of those who answer together or not at all.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

impl PostClient {
    /// A client that trusts `roots`; connects only where `guard` allows it.
    pub fn new(dns: Dns, roots: &TrustRoots, guard: AddressGuard) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(roots.client_config(true)?)
            .dns_resolver(GuardedDns {
                dns,
                guard: guard.clone(),
            })
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(USER_AGENT)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { client, guard })
    }

    /// Whether the URL is of an address that may not be connected to. Of a name, only a request can tell.
    pub fn check(&self, url: &PostUrl) -> Result<(), Error> {
        // The HTTP client connects to an address in the URL without asking the resolver.
        address_of(&url.0).map_or(Ok(()), |address| self.guard.check(address))
    }

    /// Posts JSON text. The response must arrive within `timeout` as a whole, and have a body of at most
    /// `max_body` bytes.
    pub async fn post(
        &self,
        url: &PostUrl,
        json: Bytes,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Response, Error> {
        self.check(url)?;
        let request = self.client.post(url.0.clone()).timeout(timeout);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        response::read(request.body(json).send().await?, max_body).await
    }
}

#[cfg(test)]
mod tests {
    use super::PostUrl;

    #[test]
    fn only_plain_web_urls_can_be_posted_to() {
        for url in [
            "https://a.org/x",
            "http://10.0.0.1:80/",
            "https://[::1]/y?z",
        ] {
            assert!(PostUrl::parse(url).is_some(), "{url}");
        }
        for url in [
            "",
            "a.org",
            "ftp://a.org/",
            "https://me:pw@a.org/",
            "file:///etc/passwd",
        ] {
            assert!(PostUrl::parse(url).is_none(), "{url}");
        }
        // What the URL standard takes for an address is one to the guard.
        let url = PostUrl::parse("http://2130706433/").unwrap();
        assert_eq!(url.origin(), "http://127.0.0.1");
    }
}
