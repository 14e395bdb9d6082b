//! Why something was refused.

use types::{ErrorKind, Fault};

/// What can go wrong with keys and to-device messages.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key is not of the shape that the specification asks for.
    #[error("The keys are malformed: {0}")]
    Malformed(String),
    /// The keys are said to belong to another user or device than the caller's.
    #[error("The keys are not those of the user and device that upload them")]
    NotYours,
    /// A signature is missing, wrong, or made with a key that may not sign this.
    #[error("Invalid signature: {0}")]
    InvalidSignature(String),
    /// Another one-time key has the same id.
    #[error("There is another one-time key with the id {0}")]
    OneTimeKeyExists(String),
    /// A name is longer than any that is in use, or holds what no name does.
    #[error("The {0} is too long or contains a null character")]
    InvalidName(&'static str),
    /// A key with all that is signed with it is too large.
    #[error("The key is too large")]
    KeyTooLarge,
    /// The device holds as many one-time keys as it may.
    #[error("The device has too many one-time keys")]
    TooManyKeys,
    /// Cross-signing keys came without a master key, and there is none yet.
    #[error("There is no master key")]
    NoMasterKey,
    /// A cross-signing key is the same as the id of a device.
    #[error("The key is in use as a device id")]
    KeyIsDeviceId,
    /// Existing cross-signing keys may only be replaced after the user has authenticated anew.
    #[error("Existing cross-signing keys cannot be replaced without authentication")]
    ReplacementForbidden,
    /// What is signed is not known.
    #[error("There is no such key")]
    UnknownKey,
    /// What is signed is not what is stored under that name.
    #[error("The signed key is not the one that is stored")]
    OtherKey,
    /// The device has been deleted while it called.
    #[error("The device has been deleted")]
    UnknownDevice,
    /// A to-device message, or all of a request together, is too large.
    #[error("The message is too large")]
    MessageTooLarge,
    /// The content of a to-device message is not an object.
    #[error("The content of a message must be an object")]
    MalformedMessage,
    /// The database failed.
    #[error("The database failed")]
    Storage(#[from] storage::Error),
}

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed(_) | Self::MalformedMessage => ErrorKind::BadJson,
            Self::NotYours | Self::OtherKey | Self::InvalidName(_) => ErrorKind::InvalidParam,
            Self::InvalidSignature(_) => ErrorKind::InvalidSignature,
            Self::OneTimeKeyExists(_) => ErrorKind::Unknown,
            Self::TooManyKeys | Self::KeyTooLarge | Self::MessageTooLarge => ErrorKind::TooLarge,
            Self::NoMasterKey => ErrorKind::MissingParam,
            Self::KeyIsDeviceId | Self::ReplacementForbidden => ErrorKind::Forbidden,
            Self::UnknownKey => ErrorKind::NotFound,
            Self::UnknownDevice => ErrorKind::UnknownToken { soft_logout: false },
            Self::Storage(error) => error.kind(),
        }
    }
}
