//! The HTTP status and `errcode` of each kind of error.

use http::StatusCode;
use types::ErrorKind;

/// The `errcode` of a kind of error.
pub(crate) fn errcode(kind: &ErrorKind) -> &'static str {
    let (_, errcode) = status_and_errcode(kind);
    errcode
}

/// The status and `errcode` of each kind of error.
pub(crate) fn status_and_errcode(kind: &ErrorKind) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match kind {
        ErrorKind::Forbidden => (S::FORBIDDEN, "M_FORBIDDEN"),
        ErrorKind::UnknownToken { .. } => (S::UNAUTHORIZED, "M_UNKNOWN_TOKEN"),
        ErrorKind::MissingToken => (S::UNAUTHORIZED, "M_MISSING_TOKEN"),
        ErrorKind::UnknownPos => (S::BAD_REQUEST, "M_UNKNOWN_POS"),
        ErrorKind::BadJson => (S::BAD_REQUEST, "M_BAD_JSON"),
        ErrorKind::NotJson => (S::BAD_REQUEST, "M_NOT_JSON"),
        ErrorKind::NotFound => (S::NOT_FOUND, "M_NOT_FOUND"),
        ErrorKind::LimitExceeded { .. } => (S::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED"),
        ErrorKind::Unknown => (S::BAD_REQUEST, "M_UNKNOWN"),
        ErrorKind::Unrecognized => (S::NOT_FOUND, "M_UNRECOGNIZED"),
        ErrorKind::Unauthorized => (S::UNAUTHORIZED, "M_UNAUTHORIZED"),
        ErrorKind::UserDeactivated => (S::FORBIDDEN, "M_USER_DEACTIVATED"),
        ErrorKind::UserInUse => (S::BAD_REQUEST, "M_USER_IN_USE"),
        ErrorKind::InvalidUsername => (S::BAD_REQUEST, "M_INVALID_USERNAME"),
        ErrorKind::RoomInUse => (S::BAD_REQUEST, "M_ROOM_IN_USE"),
        ErrorKind::InvalidRoomState => (S::BAD_REQUEST, "M_INVALID_ROOM_STATE"),
        ErrorKind::UnsupportedRoomVersion => (S::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION"),
        ErrorKind::IncompatibleRoomVersion => (S::BAD_REQUEST, "M_INCOMPATIBLE_ROOM_VERSION"),
        ErrorKind::BadState => (S::BAD_REQUEST, "M_BAD_STATE"),
        ErrorKind::GuestAccessForbidden => (S::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN"),
        ErrorKind::InviteBlocked => (S::FORBIDDEN, "M_INVITE_BLOCKED"),
        ErrorKind::MissingParam => (S::BAD_REQUEST, "M_MISSING_PARAM"),
        ErrorKind::InvalidParam => (S::BAD_REQUEST, "M_INVALID_PARAM"),
        ErrorKind::TooLarge => (S::PAYLOAD_TOO_LARGE, "M_TOO_LARGE"),
        ErrorKind::RemoteTooLarge => (S::BAD_GATEWAY, "M_TOO_LARGE"),
        ErrorKind::Exclusive => (S::BAD_REQUEST, "M_EXCLUSIVE"),
        ErrorKind::ResourceLimitExceeded => (S::FORBIDDEN, "M_RESOURCE_LIMIT_EXCEEDED"),
        ErrorKind::UserLimitExceeded { .. } => (S::FORBIDDEN, "M_USER_LIMIT_EXCEEDED"),
        ErrorKind::WeakPassword => (S::BAD_REQUEST, "M_WEAK_PASSWORD"),
        ErrorKind::InvalidSignature => (S::BAD_REQUEST, "M_INVALID_SIGNATURE"),
        ErrorKind::BadAlias => (S::BAD_REQUEST, "M_BAD_ALIAS"),
        ErrorKind::DuplicateAnnotation => (S::BAD_REQUEST, "M_DUPLICATE_ANNOTATION"),
        ErrorKind::NotYetUploaded => (S::GATEWAY_TIMEOUT, "M_NOT_YET_UPLOADED"),
        ErrorKind::NotInThread => (S::BAD_REQUEST, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"),
        ErrorKind::ConflictingUnsubscription => (
            S::CONFLICT,
            "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION",
        ),
        ErrorKind::CannotOverwriteMedia => (S::CONFLICT, "M_CANNOT_OVERWRITE_MEDIA"),
        ErrorKind::UnableToAuthoriseJoin => (S::BAD_REQUEST, "M_UNABLE_TO_AUTHORISE_JOIN"),
        ErrorKind::UnableToGrantJoin => (S::BAD_REQUEST, "M_UNABLE_TO_GRANT_JOIN"),
        ErrorKind::UnableDueToPartialState => (S::FORBIDDEN, "M_UNABLE_DUE_TO_PARTIAL_STATE"),
        ErrorKind::WrongRoomKeysVersion => (S::FORBIDDEN, "M_WRONG_ROOM_KEYS_VERSION"),
        ErrorKind::ProfileTooLarge => (S::BAD_REQUEST, "M_PROFILE_TOO_LARGE"),
        ErrorKind::KeyTooLarge => (S::BAD_REQUEST, "M_KEY_TOO_LARGE"),
        ErrorKind::BadGateway => (S::BAD_GATEWAY, "M_UNKNOWN"),
        ErrorKind::Unavailable => (S::SERVICE_UNAVAILABLE, "M_UNKNOWN"),
        ErrorKind::Internal => (S::INTERNAL_SERVER_ERROR, "M_UNKNOWN"),
    }
}
