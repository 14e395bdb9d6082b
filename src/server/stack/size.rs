//! No body is read beyond a limit, whatever the endpoint.

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::StatusCode;
use http_body_util::Limited;

/// Refuses a body that says it is too large, and cuts off one that does not say so.
pub(super) async fn limit(State(max_body): State<usize>, request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > max_body as u64 {
        return super::failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            "M_TOO_LARGE",
            "The request body is too large",
        );
    }
    next.run(request.map(|body| Body::new(Limited::new(body, max_body))))
        .await
}
