//! Runs write requests to completion even if the client disconnects.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use tracing::Instrument as _;

/// Runs the request in its own task, so that a lost connection does not cancel it halfway.
pub(super) async fn run_to_completion(request: Request, next: Next) -> Response {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return next.run(request).await;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "it is awaited here, unless the client is gone"
    )]
    let answer = tokio::spawn(next.run(request).in_current_span()).await;
    // Panics are caught inside; otherwise only the shutdown of the runtime ends the task.
    answer.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
}
