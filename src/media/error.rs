//! The error type of this crate.

use std::sync::Arc;

use types::{ErrorKind, Fault};

/// The client aborted the upload.
#[derive(Debug, thiserror::Error)]
#[error("The upload was interrupted")]
pub struct Interrupted;

/// What can go wrong with uploads and downloads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file, or it is not this server's.
    #[error("There is no such media")]
    NotFound,
    /// The content was not uploaded within the timeout.
    #[error("The media has not been uploaded yet")]
    NotYetUploaded,
    /// The media id has content already.
    #[error("The media has been uploaded already")]
    AlreadyUploaded,
    /// The media id was created by another user.
    #[error("The media id belongs to another user")]
    WrongOwner,
    /// The user has too many pending media ids.
    #[error("There are too many pending media ids")]
    TooManyPending,
    /// The file exceeds the upload limit.
    #[error("The file is too large")]
    TooLarge,
    /// The part of the file that was asked for is not in it.
    #[error("The file has {0} bytes, and nothing in this range")]
    NoSuchRange(u64),
    /// The user's files would take more than they may.
    #[error(transparent)]
    UserLimit(#[from] types::UserLimitExceeded),
    /// The file is not an image in a supported format.
    #[error("There is no thumbnail of this file")]
    NoThumbnail,
    /// The image has too many pixels.
    #[error("The image is too large for a thumbnail")]
    ImageTooLarge,
    /// The file of another server exceeds the limit for such files.
    #[error("The file of the other server is too large")]
    RemoteTooLarge,
    /// The file of another server has too many pixels.
    #[error("The image of the other server is too large for a thumbnail")]
    RemoteImageTooLarge,
    /// Too many files of other servers are being fetched.
    #[error("Too many files of other servers are being fetched")]
    TooManyFetches,
    /// The other server has not begun to send the file in time.
    #[error("The other server has not sent the file in time")]
    TooSlow,
    /// The file could not be had from the other server.
    #[error(transparent)]
    Federation(federation::Error),
    /// The fetch of the file, which was shared with other requests, has failed.
    #[error("{0}")]
    Fetch(Arc<Error>),
    /// The fetch of the file was aborted.
    #[error("The fetch of the file was aborted")]
    FetchAborted,
    /// The client aborted the upload.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The content cannot be written or read.
    #[error("The content store failed")]
    Store(#[from] object_store::Error),
    /// The folder of the content store cannot be used.
    #[error("The folder for media cannot be used")]
    Folder(#[from] std::io::Error),
    /// The database failed.
    #[error("The database failed")]
    Storage(#[from] storage::Error),
    /// The system's randomness failed.
    #[error(transparent)]
    NoRandomness(#[from] types::random::NoRandomness),
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::NotYetUploaded => ErrorKind::NotYetUploaded,
            Self::AlreadyUploaded => ErrorKind::CannotOverwriteMedia,
            Self::WrongOwner => ErrorKind::Forbidden,
            Self::TooManyPending | Self::TooManyFetches => {
                ErrorKind::LimitExceeded { retry_after: None }
            }
            Self::RemoteTooLarge | Self::RemoteImageTooLarge => ErrorKind::RemoteTooLarge,
            Self::UserLimit(error) => error.kind(),
            Self::TooSlow => ErrorKind::BadGateway,
            Self::Federation(error) => error.kind(),
            Self::Fetch(error) => error.kind(),
            Self::FetchAborted => ErrorKind::Unavailable,
            Self::TooLarge | Self::ImageTooLarge => ErrorKind::TooLarge,
            Self::NoThumbnail | Self::Interrupted(_) | Self::NoSuchRange(_) => ErrorKind::Unknown,
            Self::Store(_) | Self::Folder(_) => ErrorKind::Internal,
            Self::Storage(error) => error.kind(),
            Self::NoRandomness(error) => error.kind(),
        }
    }
}

impl From<federation::Error> for Error {
    fn from(error: federation::Error) -> Self {
        match &error {
            federation::Error::Remote { errcode, .. } if errcode == "M_NOT_YET_UPLOADED" => {
                Self::NotYetUploaded
            }
            federation::Error::Remote { errcode, .. } if errcode == "M_TOO_LARGE" => {
                Self::RemoteTooLarge
            }
            federation::Error::Remote { status: 404, .. } => Self::NotFound,
            _ => Self::Federation(error),
        }
    }
}

impl Error {
    /// Whether the store has no such file.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Store(object_store::Error::NotFound { .. }))
    }

    /// What the error is, whether the fetch was shared or not.
    pub(crate) fn unshared(&self) -> &Self {
        match self {
            Self::Fetch(error) => error,
            error => error,
        }
    }
}
