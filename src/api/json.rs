//! JSON in and out: what is refused before it is parsed, and answers that are written, not built.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use types::ErrorKind;

use crate::error::Error;

/// How deep objects and arrays of a request may be nested.
const MAX_DEPTH: usize = 100;

/// An answer whose JSON text is already written, spliced from stored events.
#[derive(Clone, Debug)]
pub struct RawJson(pub Vec<u8>);

impl From<String> for RawJson {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl IntoResponse for RawJson {
    fn into_response(self) -> Response {
        answer(StatusCode::OK, self.0)
    }
}

/// A response of JSON text.
pub(crate) fn answer(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The answer when a response could not be written: a bug, logged.
pub(crate) fn unwritable(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "A response could not be written");
    Error::new(ErrorKind::Internal, "Internal server error").into_response()
}

/// Refuses bodies that are not text or nested deeper than any parser should follow.
pub(crate) fn check(body: &[u8]) -> Result<(), Error> {
    if std::str::from_utf8(body).is_err() {
        return Err(Error::new(ErrorKind::NotJson, "The body is not UTF-8"));
    }
    if depth_exceeds(body, MAX_DEPTH) {
        return Err(Error::new(
            ErrorKind::BadJson,
            "The body is nested too deeply",
        ));
    }
    Ok(())
}

fn depth_exceeds(body: &[u8], max: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match (in_string, byte) {
            (true, b'\\') => {
                bytes.next();
            }
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_counts_open_brackets_only() {
        assert!(!depth_exceeds(b"[[]][[]]", 2));
        assert!(depth_exceeds(b"[[[]]]", 2));
        assert!(depth_exceeds(br#"{"a":{"b":[]}}"#, 2));
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert!(!depth_exceeds(br#"["[[[\"[[["]"#, 1));
        assert!(!depth_exceeds(br#"["\\", "[[["]"#, 1));
    }
}
