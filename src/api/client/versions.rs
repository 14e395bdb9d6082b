//! `/versions`: which parts of the specification this server keeps.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::json;

/// Tells the versions of the specification; the token that clients send along does not matter.
pub(crate) async fn versions() -> Response {
    let versions: Vec<String> = ["r0.6.1".to_owned()]
        .into_iter()
        .chain((1..=16).map(|minor| format!("v1.{minor}")))
        .collect();
    let body = serde_json::json!({ "versions": versions, "unstable_features": {} });
    json::answer(StatusCode::OK, body.to_string()).into_response()
}
