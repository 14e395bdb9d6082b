//! The error of every handler and the HTTP response that it becomes.

use std::{fmt::Write as _, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use types::{ErrorKind, Fault};

use crate::{errcode::status_and_errcode, json, uia_response::UiaResponse};

/// The `Retry-After` of a 503.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(5);

/// What a handler returns instead of a response.
#[derive(Debug)]
pub enum Error {
    /// An error of the specification.
    Failure(Box<Failure>),
    /// User-interactive authentication is required or not yet complete.
    UiaRequired(Box<UiaResponse>),
}

/// The parts of an error response.
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
    /// An error that this crate detects itself.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let (status, _) = status_and_errcode(&kind);
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

    /// No endpoint has this path: 404.
    pub fn unrecognized() -> Self {
        Self::new(ErrorKind::Unrecognized, "Unrecognized request")
    }

    /// A response could not be serialized: a bug, logged.
    pub(crate) fn serialization(error: impl std::error::Error) -> Self {
        tracing::error!(%error, "A response could not be serialized");
        Self::new(ErrorKind::Internal, "Internal server error")
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
                tracing::error!(error = %error_chain(&fault), "A request failed");
                "Internal server error".to_owned()
            }
            ErrorKind::Unavailable => {
                tracing::warn!(error = %error_chain(&fault), "A request failed because a dependency is unavailable");
                "Temporarily unavailable".to_owned()
            }
            _ => fault.to_string(),
        };
        Self::new(kind, text)
    }
}

impl From<UiaResponse> for Error {
    fn from(response: UiaResponse) -> Self {
        Self::UiaRequired(Box::new(response))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Failure(failure) => failure.into_response(),
            Self::UiaRequired(body) => match serde_json::to_string(&body) {
                Ok(body) => json::json_response(StatusCode::UNAUTHORIZED, body),
                Err(error) => Self::serialization(error).into_response(),
            },
        }
    }
}

impl Failure {
    fn into_response(self) -> Response {
        let (_, errcode) = status_and_errcode(&self.kind);
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
        let mut response = json::json_response(self.status, Value::Object(body).to_string());
        if let Some(wait) = retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}

/// An error and its chain of sources, in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
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
    async fn unavailable_is_answered_with_retry_after() {
        let (status, headers, _) = answered(Broken(ErrorKind::Unavailable).into()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(headers["retry-after"], "5");
    }

    #[tokio::test]
    async fn limit_exceeded_is_answered_with_retry_after() {
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
    async fn soft_logout_is_set_only_for_expired_tokens() {
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
