//! The size limit of request bodies.

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::StatusCode;
use http_body_util::Limited;

/// Rejects a body whose declared length is too large and limits one without a declared length.
pub(super) async fn limit(State(max_body): State<usize>, request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > max_body as u64 {
        return super::error_response(
            StatusCode::PAYLOAD_TOO_LARGE,
            "M_TOO_LARGE",
            "The request body is too large",
        );
    }
    next.run(request.map(|body| Body::new(Limited::new(body, max_body))))
        .await
}
