//! Why a file was not stored or found.

use types::{ErrorKind, Fault};

/// The client stopped sending.
#[derive(Debug, thiserror::Error)]
#[error("The upload was interrupted")]
pub struct Interrupted;

/// What can go wrong with uploads and downloads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file, or it is not this server's.
    #[error("There is no such media")]
    NotFound,
    /// The id was given out, the content has not come within the time allowed.
    #[error("The media has not been uploaded yet")]
    NotYetUploaded,
    /// The id has content already.
    #[error("The media has been uploaded already")]
    AlreadyUploaded,
    /// The id was given out to another user.
    #[error("The media id belongs to another user")]
    NotYours,
    /// The user has too many ids without content.
    #[error("There are too many media ids whose content is still to come")]
    TooManyPending,
    /// The file is larger than this server stores.
    #[error("The file is too large")]
    TooLarge,
    /// The file is not an image, or not one that is understood.
    #[error("There is no thumbnail of this file")]
    NoThumbnail,
    /// The image has too many pixels.
    #[error("The image is too large for a thumbnail")]
    ImageTooLarge,
    /// The client stopped sending.
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
    /// The operating system failed.
    #[error(transparent)]
    NoRandomness(#[from] types::random::NoRandomness),
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::NotYetUploaded => ErrorKind::NotYetUploaded,
            Self::AlreadyUploaded => ErrorKind::CannotOverwriteMedia,
            Self::NotYours => ErrorKind::Forbidden,
            Self::TooManyPending => ErrorKind::LimitExceeded { retry_after: None },
            Self::TooLarge | Self::ImageTooLarge => ErrorKind::TooLarge,
            Self::NoThumbnail | Self::Interrupted(_) => ErrorKind::Unknown,
            Self::Store(_) | Self::Folder(_) => ErrorKind::Internal,
            Self::Storage(error) => error.kind(),
            Self::NoRandomness(error) => error.kind(),
        }
    }
}
