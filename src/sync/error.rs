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
    /// The token is not one of this server's.
    #[error(transparent)]
    Token(#[from] InvalidToken),
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Storage(error) => error.kind(),
            Self::UnknownFilter => ErrorKind::InvalidParam,
            Self::Token(error) => error.kind(),
        }
    }
}
