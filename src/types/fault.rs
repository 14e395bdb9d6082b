//! What a client sees of a failure.

use std::time::Duration;

/// The errors of the client-server and server-server API that Chancery returns.
///
/// Each stands for one `errcode` and one usual HTTP status; `api` has the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// `M_FORBIDDEN`, 403.
    Forbidden,
    /// `M_UNKNOWN_TOKEN`, 401.
    UnknownToken {
        /// Whether the device is kept and the client may log in to it again.
        soft_logout: bool,
    },
    /// `M_MISSING_TOKEN`, 401.
    MissingToken,
    /// `M_UNKNOWN_POS`, 400: the position of a sliding sync connection that is not known (any more).
    UnknownPos,
    /// `M_BAD_JSON`, 400: valid JSON of the wrong shape.
    BadJson,
    /// `M_NOT_JSON`, 400.
    NotJson,
    /// `M_NOT_FOUND`, 404.
    NotFound,
    /// `M_LIMIT_EXCEEDED`, 429.
    LimitExceeded {
        /// How long the client should wait.
        retry_after: Option<Duration>,
    },
    /// `M_UNKNOWN`, 400.
    Unknown,
    /// `M_UNRECOGNIZED`, 404.
    Unrecognized,
    /// `M_UNAUTHORIZED`, 401.
    Unauthorized,
    /// `M_USER_DEACTIVATED`, 403.
    UserDeactivated,
    /// `M_USER_IN_USE`, 400.
    UserInUse,
    /// `M_INVALID_USERNAME`, 400.
    InvalidUsername,
    /// `M_ROOM_IN_USE`, 400.
    RoomInUse,
    /// `M_INVALID_ROOM_STATE`, 400.
    InvalidRoomState,
    /// `M_UNSUPPORTED_ROOM_VERSION`, 400.
    UnsupportedRoomVersion,
    /// `M_INCOMPATIBLE_ROOM_VERSION`, 400.
    IncompatibleRoomVersion,
    /// `M_BAD_STATE`, 400.
    BadState,
    /// `M_GUEST_ACCESS_FORBIDDEN`, 403.
    GuestAccessForbidden,
    /// `M_INVITE_BLOCKED`, 403.
    InviteBlocked,
    /// `M_MISSING_PARAM`, 400.
    MissingParam,
    /// `M_INVALID_PARAM`, 400.
    InvalidParam,
    /// `M_TOO_LARGE`, 413.
    TooLarge,
    /// `M_TOO_LARGE`, 502: a file of another server.
    RemoteTooLarge,
    /// `M_EXCLUSIVE`, 400.
    Exclusive,
    /// `M_RESOURCE_LIMIT_EXCEEDED`, 403.
    ResourceLimitExceeded,
    /// `M_USER_LIMIT_EXCEEDED`, 403.
    UserLimitExceeded {
        /// A page that explains the limit to the user.
        info_uri: String,
    },
    /// `M_WEAK_PASSWORD`, 400.
    WeakPassword,
    /// `M_INVALID_SIGNATURE`, 400.
    InvalidSignature,
    /// `M_BAD_ALIAS`, 400.
    BadAlias,
    /// `M_DUPLICATE_ANNOTATION`, 400.
    DuplicateAnnotation,
    /// `M_NOT_YET_UPLOADED`, 504.
    NotYetUploaded,
    /// `IO.ELEMENT.MSC4306.M_NOT_IN_THREAD`, 400.
    NotInThread,
    /// `IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION`, 409.
    ConflictingUnsubscription,
    /// `M_CANNOT_OVERWRITE_MEDIA`, 409.
    CannotOverwriteMedia,
    /// `M_UNABLE_TO_AUTHORISE_JOIN`, 400.
    UnableToAuthoriseJoin,
    /// `M_UNABLE_TO_GRANT_JOIN`, 400.
    UnableToGrantJoin,
    /// `M_UNABLE_DUE_TO_PARTIAL_STATE`, 403 (MSC3895).
    UnableDueToPartialState,
    /// `M_WRONG_ROOM_KEYS_VERSION`, 403.
    WrongRoomKeysVersion,
    /// `M_PROFILE_TOO_LARGE`, 400.
    ProfileTooLarge,
    /// `M_KEY_TOO_LARGE`, 400.
    KeyTooLarge,
    /// `M_UNKNOWN`, 502: another server could not be reached, or did not answer as it should.
    BadGateway,
    /// `M_UNKNOWN`, 503 with `Retry-After`: the database or another dependency is unavailable.
    Unavailable,
    /// `M_UNKNOWN`, 500: a bug or a failure inside the server; the text is not shown.
    Internal,
}

/// Implemented by every domain error: what a client may learn about it.
///
/// The text sent to the client is the error's `Display`, except for [`ErrorKind::Internal`] and
/// [`ErrorKind::Unavailable`], whose text is only logged.
pub trait Fault: std::error::Error + Send + Sync + 'static {
    /// Which error of the specification this is.
    fn kind(&self) -> ErrorKind;
}
