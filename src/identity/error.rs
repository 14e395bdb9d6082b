//! The error type of this crate.

use types::{ErrorKind, Fault, random::NoRandomness};

/// Why an operation on users failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Registration is closed.
    #[error("Registration is closed on this server; ask its administrators for an account")]
    RegistrationClosed,
    /// Guest access is not supported.
    #[error("Guest access is not offered by this server")]
    GuestAccessForbidden,
    /// The registration token is unknown, used up or has expired.
    #[error("The registration token is not valid")]
    InvalidRegistrationToken,
    /// The name is taken, possibly by a deactivated account.
    #[error("The username is already taken")]
    UserInUse,
    /// The name does not follow the rules.
    #[error("The username is not valid: {0}")]
    InvalidUsername(&'static str),
    /// A necessary field is missing.
    #[error("Missing parameter: {0}")]
    MissingParam(&'static str),
    /// A field has a value that is not allowed.
    #[error("{0}")]
    InvalidParam(&'static str),
    /// The JSON has the wrong shape.
    #[error("{0}")]
    BadJson(&'static str),
    /// The password is too short or too long.
    #[error("The password must have between 1 and 512 bytes")]
    InvalidPassword,
    /// The username or password is wrong.
    #[error("Invalid username or password")]
    InvalidCredentials,
    /// The login token is unknown, used or has expired.
    #[error("Invalid login token")]
    InvalidLoginToken,
    /// The login type is not supported.
    #[error("Unknown login type")]
    UnknownLoginType,
    /// The access or refresh token is not valid.
    #[error("{}", if *soft_logout { "The access token has expired" } else { "Unknown access token" })]
    UnknownToken {
        /// Whether the device is kept and may be logged in to again.
        soft_logout: bool,
    },
    /// An application service names no device where one is needed.
    #[error("The request needs a device; name it as device_id")]
    DeviceRequired,
    /// An application service calls what only a logged-in user can.
    #[error("Application services cannot call this")]
    SessionRequired,
    /// The stage is not the next one of any flow.
    #[error("This authentication stage is not expected here")]
    UnexpectedStage,
    /// The authentication names a user other than the caller.
    #[error("The authentication names another user than the caller")]
    UiaUserMismatch,
    /// The UIA session was started for another request.
    #[error("The request has changed since its authentication began")]
    UiaRequestChanged,
    /// The user has no such device.
    #[error("There is no such device")]
    UnknownDevice,
    /// There is no such user here.
    #[error("There is no such user")]
    UnknownUser,
    /// The room is not known here.
    #[error("There is no such room")]
    UnknownRoom,
    /// Something else was not found.
    #[error("{0}")]
    NotFound(&'static str),
    /// A type of account data that only the server writes.
    #[error("This type of account data is managed by the server")]
    ManagedAccountData,
    /// The invited user does not want the invitation.
    #[error("The user does not accept this invitation")]
    InviteBlocked,
    /// The profile would grow beyond 64 KiB.
    #[error("The profile is too large")]
    ProfileTooLarge,
    /// The name of the profile field is longer than 255 bytes.
    #[error("The name of the profile field is too long")]
    ProfileKeyTooLong,
    /// A storage limit of the user is exceeded.
    #[error("{0}")]
    TooLarge(&'static str),
    /// The user has reached a limit of the configuration.
    #[error(transparent)]
    UserLimit(#[from] types::UserLimitExceeded),
    /// The push rule cannot be stored like this.
    #[error("{0}")]
    InvalidPushRule(String),
    /// The shared secret is wrong or not configured.
    #[error("{0}")]
    SharedSecretRejected(&'static str),
    /// The password could not be hashed.
    #[error("The password could not be hashed: {0}")]
    Hashing(String),
    /// Data could not be written as JSON.
    #[error("Data could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The system's randomness failed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The write was not committed.
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Fault for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::RegistrationClosed
            | Self::InvalidCredentials
            | Self::InvalidLoginToken
            | Self::UiaUserMismatch
            | Self::UiaRequestChanged
            | Self::SessionRequired
            | Self::SharedSecretRejected(_) => ErrorKind::Forbidden,
            Self::GuestAccessForbidden => ErrorKind::GuestAccessForbidden,
            Self::InvalidRegistrationToken => ErrorKind::Unauthorized,
            Self::UserInUse => ErrorKind::UserInUse,
            Self::InvalidUsername(_) => ErrorKind::InvalidUsername,
            Self::MissingParam(_) | Self::DeviceRequired => ErrorKind::MissingParam,
            Self::InvalidParam(_) => ErrorKind::InvalidParam,
            Self::BadJson(_) | Self::ManagedAccountData => ErrorKind::BadJson,
            Self::InviteBlocked => ErrorKind::InviteBlocked,
            Self::InvalidPassword => ErrorKind::WeakPassword,
            Self::UnknownLoginType | Self::InvalidPushRule(_) => ErrorKind::Unknown,
            Self::UnknownToken { soft_logout } => ErrorKind::UnknownToken {
                soft_logout: *soft_logout,
            },
            Self::UnexpectedStage => ErrorKind::Unrecognized,
            Self::UnknownDevice | Self::UnknownUser | Self::UnknownRoom | Self::NotFound(_) => {
                ErrorKind::NotFound
            }
            Self::ProfileTooLarge => ErrorKind::ProfileTooLarge,
            Self::ProfileKeyTooLong => ErrorKind::KeyTooLarge,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::UserLimit(error) => error.kind(),
            Self::Hashing(_) | Self::Json(_) => ErrorKind::Internal,
            Self::Randomness(error) => error.kind(),
            Self::Storage(error) => error.kind(),
            Self::Commit(error) => error.kind(),
        }
    }
}
