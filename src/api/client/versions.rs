//! `/versions`: which parts of the specification this server keeps.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::json;

/// The minor version that clients ask for before they leave threads to the server.
const THREADS: u32 = 4;

/// Tells the versions of the specification; the token that clients send along does not matter.
///
/// A version is named when what clients conclude from it is so: that its paths are there and its
/// rules are kept for all that is served. What is not served at all answers `M_UNRECOGNIZED`.
/// v1.4 is left out: from it clients conclude that the server lists threads and sums them up. What
/// else it brought is told as the features that it came from.
pub(crate) async fn versions() -> Response {
    let minor = (1..=16).filter(|minor| *minor != THREADS);
    let versions: Vec<String> = ["r0.6.1".to_owned()]
        .into_iter()
        .chain(minor.map(|minor| format!("v1.{minor}")))
        .collect();
    let body = serde_json::json!({
        "versions": versions,
        "unstable_features": {
            // Private receipts; receipts and counts by thread.
            "org.matrix.msc2285.stable": true,
            "org.matrix.msc3771": true,
            "org.matrix.msc3773": true,
        },
    });
    json::answer(StatusCode::OK, body.to_string()).into_response()
}
