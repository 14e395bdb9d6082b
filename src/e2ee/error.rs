//! The error type of this crate.

use types::{ErrorKind, Fault};

/// What can go wrong with keys and to-device messages.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key does not have the format of the specification.
    #[error("The keys are malformed: {0}")]
    Malformed(String),
    /// The keys name a user or device other than the caller's.
    #[error("The keys are not those of the user and device that upload them")]
    WrongOwner,
    /// A signature is missing, wrong, or by a key that must not sign this object.
    #[error("Invalid signature: {0}")]
    InvalidSignature(String),
    /// A different one-time key with this id exists.
    #[error("There is another one-time key with the id {0}")]
    OneTimeKeyExists(String),
    /// An identifier is too long or contains a null character.
    #[error("The {0} is too long or contains a null character")]
    InvalidIdentifier(&'static str),
    /// A key object is too large.
    #[error("The key is too large")]
    KeyTooLarge,
    /// The device has too many one-time keys.
    #[error("The device has too many one-time keys")]
    TooManyKeys,
    /// Cross-signing keys came without a master key, and there is none yet.
    #[error("There is no master key")]
    NoMasterKey,
    /// A cross-signing key is the same as the id of a device.
    #[error("The key is in use as a device id")]
    KeyIsDeviceId,
    /// Replacing cross-signing keys requires user-interactive authentication.
    #[error("Existing cross-signing keys cannot be replaced without authentication")]
    ReplacementForbidden,
    /// There is no such user on this server.
    #[error("There is no such user on this server")]
    UnknownUser,
    /// The signed key is unknown.
    #[error("There is no such key")]
    UnknownKey,
    /// The signed object differs from the stored key.
    #[error("The signed key is not the one that is stored")]
    KeyMismatch,
    /// The calling device has been deleted meanwhile.
    #[error("The device has been deleted")]
    UnknownDevice,
    /// The device's identity keys are changed again and again.
    #[error("The device's keys are being changed")]
    Changing,
    /// A to-device message, or the whole request, is too large.
    #[error("The message is too large")]
    MessageTooLarge,
    /// The content of a to-device message is not an object.
    #[error("The content of a message must be an object")]
    MalformedMessage,
    /// There is no such backup, or none at all.
    #[error("There is no such key backup")]
    UnknownBackup,
    /// The backup has no such key.
    #[error("The key is not in the backup")]
    NotBackedUp,
    /// Keys are added to the current backup only.
    #[error("The current key backup is {current}")]
    NotCurrentBackup {
        /// Its version.
        current: i64,
    },
    /// What was sent of a backup differs from what cannot be changed.
    #[error("The {0} is not that of the key backup")]
    BackupMismatch(&'static str),
    /// A limit of the user is reached.
    #[error(transparent)]
    UserLimit(#[from] types::UserLimitExceeded),
    /// The database failed.
    #[error("The database failed")]
    Storage(#[from] storage::Error),
    /// The write was not committed.
    #[error("The write was not committed")]
    Commit(#[from] storage::CommitError),
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed(_) | Self::MalformedMessage => ErrorKind::BadJson,
            Self::WrongOwner
            | Self::KeyMismatch
            | Self::InvalidIdentifier(_)
            | Self::BackupMismatch(_) => ErrorKind::InvalidParam,
            Self::InvalidSignature(_) => ErrorKind::InvalidSignature,
            Self::OneTimeKeyExists(_) => ErrorKind::Unknown,
            Self::TooManyKeys | Self::KeyTooLarge | Self::MessageTooLarge => ErrorKind::TooLarge,
            Self::NoMasterKey => ErrorKind::MissingParam,
            Self::KeyIsDeviceId | Self::ReplacementForbidden => ErrorKind::Forbidden,
            Self::UnknownKey | Self::UnknownUser | Self::UnknownBackup | Self::NotBackedUp => {
                ErrorKind::NotFound
            }
            Self::NotCurrentBackup { .. } => ErrorKind::WrongRoomKeysVersion,
            Self::UserLimit(error) => error.kind(),
            Self::Changing => ErrorKind::Unavailable,
            Self::UnknownDevice => ErrorKind::UnknownToken { soft_logout: false },
            Self::Storage(error) => error.kind(),
            Self::Commit(error) => error.kind(),
        }
    }
}
