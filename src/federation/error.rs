//! Why other servers are not talked to, or could not be.

use std::{sync::Arc, time::Duration};

use ruma::{OwnedServerName, OwnedServerSigningKeyId};
use types::{ErrorKind, Fault};

/// The result of most functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Another server is not allowed, could not be reached, or is not who it says.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The federation policy does not allow the server.
    #[error("This server does not federate with {0}")]
    NotAllowed(OwnedServerName),
    /// The federation policy does not allow to exchange files with the server.
    #[error("This server does not exchange files with {0}")]
    NoMedia(OwnedServerName),
    /// The server sends more requests than it may.
    #[error("Too many requests")]
    LimitExceeded {
        /// When it may send the next one.
        retry_after: Duration,
    },
    /// The server could not be found or reached.
    #[error("The server {server} could not be reached")]
    Unreachable {
        /// The server.
        server: OwnedServerName,
        /// What failed.
        #[source]
        source: Arc<net::Error>,
    },
    /// The server answered with an error.
    #[error("The server {server} answered with an error: {status} {errcode} {error}")]
    Remote {
        /// The server.
        server: OwnedServerName,
        /// The HTTP status.
        status: u16,
        /// The `errcode`; empty if there is none.
        errcode: String,
        /// The text for people.
        error: String,
    },
    /// The server's answer is not what the specification says.
    #[error("The response of {server} is not valid: {reason}")]
    InvalidResponse {
        /// The server.
        server: OwnedServerName,
        /// What is wrong with it.
        reason: String,
    },
    /// A request to another server could not be built.
    #[error("The request could not be built: {0}")]
    Request(String),
    /// The `Authorization` header of a request is missing or not valid.
    #[error("The request has no valid X-Matrix credentials: {0}")]
    Credentials(String),
    /// The request was signed for another server.
    #[error("The request is addressed to another server")]
    WrongDestination,
    /// The key of a signature is not one of its server's current keys.
    #[error("{key_id} is not a valid key of {server}")]
    UnknownKey {
        /// The server.
        server: OwnedServerName,
        /// The key.
        key_id: OwnedServerSigningKeyId,
    },
    /// The keys of a server, to check its signature with, could not be fetched.
    #[error("The keys of {server} could not be fetched")]
    NoKeys {
        /// The server.
        server: OwnedServerName,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The signature of a request does not match.
    #[error("The signature of {0} does not match the request")]
    Signature(OwnedServerName),
    /// The database failed.
    #[error("The database failed")]
    Storage(#[source] Arc<storage::Error>),
    /// This server's own keys could not be published.
    #[error("The keys of this server could not be signed: {0}")]
    OwnKeys(String),
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::Storage(Arc::new(error))
    }
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAllowed(_) | Self::NoMedia(_) => ErrorKind::Forbidden,
            Self::LimitExceeded { retry_after } => ErrorKind::LimitExceeded {
                retry_after: Some(*retry_after),
            },
            Self::Remote { status: 404, .. } => ErrorKind::NotFound,
            Self::Unreachable { .. } | Self::Remote { .. } | Self::InvalidResponse { .. } => {
                ErrorKind::BadGateway
            }
            Self::Credentials(_)
            | Self::WrongDestination
            | Self::UnknownKey { .. }
            | Self::NoKeys { .. }
            | Self::Signature(_) => ErrorKind::Unauthorized,
            Self::Storage(error) => error.kind(),
            Self::Request(_) | Self::OwnKeys(_) => ErrorKind::Internal,
        }
    }
}
