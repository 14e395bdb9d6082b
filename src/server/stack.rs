//! The middleware of every request: id, span, metrics, CORS, panics, body limits.

mod observe;
mod run_to_completion;
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

/// The longest pause between two chunks of a request body.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Wraps the routes; bodies are limited to `max_body` bytes.
pub(crate) fn wrap(router: Router, max_body: usize) -> Router {
    router
        .layer(CatchPanicLayer::custom(panic_response))
        .layer(from_fn(run_to_completion::run_to_completion))
        .layer(RequestBodyTimeoutLayer::new(BODY_READ_TIMEOUT))
        // Outside the layer above, which hides the body's size hint.
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

/// The response to a panic, which the panic hook has logged.
fn panic_response(_panic: Box<dyn Any + Send + 'static>) -> Response {
    error_response(
        StatusCode::INTERNAL_SERVER_ERROR,
        "M_UNKNOWN",
        "Internal server error",
    )
}

/// A Matrix error response, for failures outside the endpoints.
fn error_response(status: StatusCode, errcode: &str, error: &str) -> Response {
    let body = Body::from(json!({ "errcode": errcode, "error": error }).to_string());
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests;
