//! The liveness check for load balancers.

use http::StatusCode;

/// Responds as long as the process serves requests.
pub(crate) async fn health() -> StatusCode {
    StatusCode::OK
}
