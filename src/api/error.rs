//! How failures are answered: one table from fault to status and `errcode`.

use std::{fmt::Write as _, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use types::{ErrorKind, Fault};

use crate::{json, uia::Challenge};

/// How long a client should wait for a part that is away.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(5);

/// What a handler answers instead of a response.
#[derive(Debug)]
pub enum Error {
    /// An error of the specification.
    Failure(Box<Failure>),
    /// The client must authenticate (further) with its password, a token and so on.
    Challenge(Box<Challenge>),
}

/// The parts of an error answer.
#[derive(Debug)]
pub struct Failure {
    kind: ErrorKind,
    status: StatusCode,
    text: String,
    fields: Map<String, Value>,
}

/// The result of every handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that is decided in this crate.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let (status, _) = table(&kind);
        Self::Failure(Box::new(Failure {
            kind,
            status,
            text: text.into(),
            fields: Map::new(),
        }))
    }

    /// The path exists, but not with this method: 405.
    pub fn method_not_allowed() -> Self {
        Self::new(ErrorKind::Unrecognized, "Unrecognized request")
            .with_status(StatusCode::METHOD_NOT_ALLOWED)
    }

    /// Nothing stands at this path: 404.
    pub fn unrecognized() -> Self {
        Self::new(ErrorKind::Unrecognized, "Unrecognized request")
    }

    /// The same error with another HTTP status, where an endpoint's specification deviates.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        if let Self::Failure(failure) = &mut self {
            failure.status = status;
        }
        self
    }

    /// The same error with one more field, such as `current_version` or `room_version`.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Self::Failure(failure) = &mut self {
            failure.fields.insert(name.to_owned(), value.into());
        }
        self
    }
}

impl<F: Fault> From<F> for Error {
    fn from(fault: F) -> Self {
        let kind = fault.kind();
        let text = match kind {
            ErrorKind::Internal => {
                tracing::error!(error = %with_sources(&fault), "A request failed");
                "Internal server error".to_owned()
            }
            ErrorKind::Unavailable => {
                tracing::warn!(error = %with_sources(&fault), "A request met an absent part");
                "Temporarily unavailable".to_owned()
            }
            _ => fault.to_string(),
        };
        Self::new(kind, text)
    }
}

impl From<Challenge> for Error {
    fn from(challenge: Challenge) -> Self {
        Self::Challenge(Box::new(challenge))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Failure(failure) => failure.into_response(),
            Self::Challenge(challenge) => challenge.into_response(),
        }
    }
}

impl Failure {
    fn into_response(self) -> Response {
        let (_, errcode) = table(&self.kind);
        let mut body = self.fields;
        body.insert("errcode".to_owned(), errcode.into());
        body.insert("error".to_owned(), self.text.into());
        let mut retry_after = None;
        match self.kind {
            ErrorKind::UnknownToken { soft_logout: true } => {
                body.insert("soft_logout".to_owned(), true.into());
            }
            ErrorKind::LimitExceeded {
                retry_after: Some(wait),
            } => {
                let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
                body.insert("retry_after_ms".to_owned(), millis.into());
                retry_after = Some(wait);
            }
            ErrorKind::UserLimitExceeded { info_uri } => {
                body.insert("info_uri".to_owned(), info_uri.into());
            }
            ErrorKind::Unavailable => retry_after = Some(UNAVAILABLE_RETRY),
            _ => {}
        }
        let mut response = json::answer(self.status, Value::Object(body).to_string());
        if let Some(wait) = retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}

/// The `errcode` of a kind of failure.
pub(crate) fn errcode(kind: &ErrorKind) -> &'static str {
    let (_, errcode) = table(kind);
    errcode
}

/// The status and `errcode` of each kind of failure.
fn table(kind: &ErrorKind) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match kind {
        ErrorKind::Forbidden => (S::FORBIDDEN, "M_FORBIDDEN"),
        ErrorKind::UnknownToken { .. } => (S::UNAUTHORIZED, "M_UNKNOWN_TOKEN"),
        ErrorKind::MissingToken => (S::UNAUTHORIZED, "M_MISSING_TOKEN"),
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
        ErrorKind::MissingParam => (S::BAD_REQUEST, "M_MISSING_PARAM"),
        ErrorKind::InvalidParam => (S::BAD_REQUEST, "M_INVALID_PARAM"),
        ErrorKind::TooLarge => (S::PAYLOAD_TOO_LARGE, "M_TOO_LARGE"),
        ErrorKind::Exclusive => (S::BAD_REQUEST, "M_EXCLUSIVE"),
        ErrorKind::ResourceLimitExceeded => (S::FORBIDDEN, "M_RESOURCE_LIMIT_EXCEEDED"),
        ErrorKind::UserLimitExceeded { .. } => (S::FORBIDDEN, "M_USER_LIMIT_EXCEEDED"),
        ErrorKind::WeakPassword => (S::BAD_REQUEST, "M_WEAK_PASSWORD"),
        ErrorKind::InvalidSignature => (S::BAD_REQUEST, "M_INVALID_SIGNATURE"),
        ErrorKind::BadAlias => (S::BAD_REQUEST, "M_BAD_ALIAS"),
        ErrorKind::DuplicateAnnotation => (S::BAD_REQUEST, "M_DUPLICATE_ANNOTATION"),
        ErrorKind::NotYetUploaded => (S::GATEWAY_TIMEOUT, "M_NOT_YET_UPLOADED"),
        ErrorKind::CannotOverwriteMedia => (S::CONFLICT, "M_CANNOT_OVERWRITE_MEDIA"),
        ErrorKind::UnableToAuthoriseJoin => (S::BAD_REQUEST, "M_UNABLE_TO_AUTHORISE_JOIN"),
        ErrorKind::UnableToGrantJoin => (S::BAD_REQUEST, "M_UNABLE_TO_GRANT_JOIN"),
        ErrorKind::WrongRoomKeysVersion => (S::FORBIDDEN, "M_WRONG_ROOM_KEYS_VERSION"),
        ErrorKind::ProfileTooLarge => (S::BAD_REQUEST, "M_PROFILE_TOO_LARGE"),
        ErrorKind::KeyTooLarge => (S::BAD_REQUEST, "M_KEY_TOO_LARGE"),
        ErrorKind::Unavailable => (S::SERVICE_UNAVAILABLE, "M_UNKNOWN"),
        ErrorKind::Internal => (S::INTERNAL_SERVER_ERROR, "M_UNKNOWN"),
    }
}

/// An error and everything it was caused by, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a `String` cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the disk at sector 7 is gone")]
    struct Broken(ErrorKind);

    impl Fault for Broken {
        fn kind(&self) -> ErrorKind {
            self.0.clone()
        }
    }

    async fn answered(error: Error) -> (StatusCode, http::HeaderMap, Value) {
        let (parts, body) = error.into_response().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (
            parts.status,
            parts.headers,
            serde_json::from_slice(&body).unwrap(),
        )
    }

    #[tokio::test]
    async fn internal_fault_is_answered_without_its_text() {
        let (status, _, body) = answered(Broken(ErrorKind::Internal).into()).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(body["errcode"], "M_UNKNOWN");
        assert!(!body.to_string().contains("sector"));
    }

    #[tokio::test]
    async fn absent_part_is_answered_with_retry_after() {
        let (status, headers, _) = answered(Broken(ErrorKind::Unavailable).into()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(headers["retry-after"], "5");
    }

    #[tokio::test]
    async fn limit_is_answered_with_the_time_to_wait() {
        let kind = ErrorKind::LimitExceeded {
            retry_after: Some(Duration::from_millis(1500)),
        };
        let (status, headers, body) = answered(Error::new(kind, "Too many requests")).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(body["errcode"], "M_LIMIT_EXCEEDED");
        assert_eq!(body["retry_after_ms"], 1500);
        assert_eq!(headers["retry-after"], "2");
    }

    #[tokio::test]
    async fn soft_logout_is_told_only_when_it_is_one() {
        let soft = Error::new(ErrorKind::UnknownToken { soft_logout: true }, "Expired");
        assert_eq!(answered(soft).await.2["soft_logout"], true);
        let hard = Error::new(ErrorKind::UnknownToken { soft_logout: false }, "Unknown");
        assert_eq!(answered(hard).await.2.get("soft_logout"), None);
    }

    #[tokio::test]
    async fn error_carries_the_fields_of_its_endpoint() {
        let error =
            Error::new(ErrorKind::WrongRoomKeysVersion, "Old").with_field("current_version", "2");
        assert_eq!(answered(error).await.2["current_version"], "2");
    }
}
