//! What can go wrong when a client syncs.

use types::{ErrorKind, Fault, InvalidToken};

/// A failure to answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("What changed could not be read")]
    Storage(#[from] storage::Error),
    /// The filter that the client names is not there.
    #[error("There is no such filter")]
    UnknownFilter,
    /// The position of a sliding sync connection is not one that the client was given, or has expired.
    #[error("This position is not known, or not any more: start again without one")]
    UnknownPos,
    /// A request of sliding sync is malformed, or asks for too much.
    #[error("{0}")]
    InvalidRequest(String),
    /// The token is not one of this server's.
    #[error(transparent)]
    Token(#[from] InvalidToken),
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Storage(error) => error.kind(),
            Self::UnknownPos => ErrorKind::UnknownPos,
            Self::InvalidRequest(_) | Self::UnknownFilter => ErrorKind::InvalidParam,
            Self::Token(error) => error.kind(),
        }
    }
}
