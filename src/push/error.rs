//! What can go wrong with pushers.

use types::{ErrorKind, Fault, UserLimitExceeded};

/// Why a pusher was not set, or notifications could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Necessary fields are missing.
    #[error("Missing parameters: {0}")]
    MissingParam(String),
    /// A field has a value that is not allowed.
    #[error("{0}")]
    InvalidParam(&'static str),
    /// The user has reached the limit of pushers.
    #[error(transparent)]
    UserLimit(#[from] UserLimitExceeded),
    /// The session of the request has ended meanwhile.
    #[error("Unknown access token")]
    SessionEnded,
    /// Data could not be written as JSON.
    #[error("Data could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::MissingParam(_) => ErrorKind::MissingParam,
            Self::InvalidParam(_) => ErrorKind::InvalidParam,
            Self::UserLimit(error) => error.kind(),
            Self::SessionEnded => ErrorKind::UnknownToken { soft_logout: false },
            Self::Json(_) => ErrorKind::Internal,
            Self::Storage(error) => error.kind(),
        }
    }
}
