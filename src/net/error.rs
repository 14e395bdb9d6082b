//! Why a request could not be made.

use std::{net::IpAddr, path::PathBuf};

use hickory_resolver::net::NetError;

/// A connection or request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is inside this server's own network.
    #[error("{0} is not a public address, and `allowed_networks` does not list it")]
    AddressDenied(IpAddr),
    /// The name servers could not be asked, or have failed.
    #[error("The name {name} could not be resolved")]
    Resolve {
        /// The name.
        name: String,
        /// What the resolver says.
        #[source]
        source: Box<NetError>,
    },
    /// The name servers did not answer in time.
    #[error("The name {0} could not be resolved in time")]
    ResolveTimeout(String),
    /// The name has no address.
    #[error("The name {0} has no address")]
    NoAddress(String),
    /// A host name or URL is not valid.
    #[error("{0} is not a URL that can be requested")]
    Url(String),
    /// The request took too long.
    #[error("The server did not answer in time")]
    Timeout,
    /// The response is larger than allowed.
    #[error("The response is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection, the TLS handshake or the HTTP exchange failed.
    #[error("The request failed")]
    Http(#[source] reqwest::Error),
    /// The client could not be built.
    #[error("The HTTP client could not be built")]
    Client(#[source] reqwest::Error),
    /// The file of certificate authorities cannot be used.
    #[error("{path} holds no usable certificates: {reason}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS settings are not usable.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
}

/// The refusal of the guard, as it passes through the HTTP client.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0} is denied")]
pub(crate) struct Denied(pub(crate) IpAddr);

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = source {
            if let Some(Denied(address)) = cause.downcast_ref() {
                return Self::AddressDenied(*address);
            }
            source = cause.source();
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        Self::Http(error.without_url())
    }
}
