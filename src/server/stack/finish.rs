//! A request that changes something is finished, even when the client does not wait for the answer.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use tracing::Instrument as _;

/// Goes on in a task of its own, so that no change is left halfway when the connection is lost.
pub(super) async fn finish(request: Request, next: Next) -> Response {
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
    // Panics are caught inside; nothing else ends the task but the end of the runtime.
    answer.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
}
