//! JSON in and out: the limit on nesting, and responses whose JSON text is already written.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// A response whose JSON text is already written, spliced from stored events.
#[derive(Clone, Debug)]
pub struct RawJson(pub Vec<u8>);

impl RawJson {
    /// The text of a value.
    pub(crate) fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::to_vec(value).map(Self)
    }
}

impl From<String> for RawJson {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl IntoResponse for RawJson {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, self.0)
    }
}

/// A response of JSON text.
pub(crate) fn json_response(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Whether objects and arrays are nested deeper than `max`.
pub(crate) fn depth_exceeds(body: &[u8], max: usize) -> bool {
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
