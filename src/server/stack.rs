//! What happens around every request: its id, its span, its metrics, cross-origin headers, panics, sizes.

mod finish;
mod observe;
mod size;

use std::{any::Any, time::Duration};

use axum::{
    Router,
    body::Body,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, header};
use serde_json::json;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any as AnyOrigin, CorsLayer},
    timeout::RequestBodyTimeoutLayer,
};

/// A body that has begun goes on within this time, again and again until its end.
const NEXT_BYTES_WITHIN: Duration = Duration::from_secs(30);

/// Wraps the routes; no body is larger than `max_body` bytes.
pub(crate) fn wrap(router: Router, max_body: usize) -> Router {
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(finish::finish))
        .layer(RequestBodyTimeoutLayer::new(NEXT_BYTES_WITHIN))
        // Outside the layer above, behind which no body says how long it is.
        .layer(from_fn_with_state(max_body, size::limit))
        .layer(cors())
        .layer(from_fn(observe::observe))
}

/// Spec: client-server, "Web Browser Clients".
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AnyOrigin)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            header::HeaderName::from_static("x-requested-with"),
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
        ])
}

/// The panic itself has been logged where it happened.
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    failure(
        StatusCode::INTERNAL_SERVER_ERROR,
        "M_UNKNOWN",
        "Internal server error",
    )
}

/// An error in the form of the specification, for what fails outside every endpoint.
fn failure(status: StatusCode, errcode: &str, error: &str) -> Response {
    let body = Body::from(json!({ "errcode": errcode, "error": error }).to_string());
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests;
