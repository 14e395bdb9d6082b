//! `/versions`: the supported versions of the specification.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::json;

/// The supported versions; an access token is ignored.
///
/// A version is listed if what clients conclude from it holds: its paths exist and its rules are
/// followed by all endpoints that exist. Others answer `M_UNRECOGNIZED`.
pub(crate) async fn versions() -> Response {
    let versions: Vec<String> = ["r0.6.1".to_owned()]
        .into_iter()
        .chain((1..=16).map(|minor| format!("v1.{minor}")))
        .collect();
    let body = serde_json::json!({
        "versions": versions,
        "unstable_features": {
            // Private receipts; receipts and counts by thread.
            "org.matrix.msc2285.stable": true,
            "org.matrix.msc3771": true,
            "org.matrix.msc3773": true,
            // Deleting account data.
            "org.matrix.msc3391": true,
            // Devices that users leave on the server.
            "org.matrix.msc3814": true,
            // Delayed events.
            "org.matrix.msc4140": true,
            // Lists of those from whom a user accepts invitations.
            "org.matrix.msc4155": true,
            // `/messages` by how events relate to others.
            "org.matrix.msc3874": true,
            // Sliding sync (MSC4186), at the path that it had before it was accepted.
            "org.matrix.simplified_msc3575": true,
            // Rooms that two users share.
            "uk.half-shot.msc2666.query_mutual_rooms.stable": true,
        },
    });
    json::json_response(StatusCode::OK, body.to_string()).into_response()
}
