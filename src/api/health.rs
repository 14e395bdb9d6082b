//! Whether the process is alive, for load balancers.

use http::StatusCode;

/// Answers as long as the process serves requests at all.
pub(crate) async fn health() -> StatusCode {
    StatusCode::OK
}
