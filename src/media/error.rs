//! The error type of this crate.

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
    /// The file is not an image in a supported format.
    #[error("There is no thumbnail of this file")]
    NoThumbnail,
    /// The image has too many pixels.
    #[error("The image is too large for a thumbnail")]
    ImageTooLarge,
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
            Self::TooManyPending => ErrorKind::LimitExceeded { retry_after: None },
            Self::TooLarge | Self::ImageTooLarge => ErrorKind::TooLarge,
            Self::NoThumbnail | Self::Interrupted(_) => ErrorKind::Unknown,
            Self::Store(_) | Self::Folder(_) => ErrorKind::Internal,
            Self::Storage(error) => error.kind(),
            Self::NoRandomness(error) => error.kind(),
        }
    }
}
