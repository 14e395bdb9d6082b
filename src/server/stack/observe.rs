//! Request ids, request logs and request metrics.
//!
//! Never logged: bodies, tokens, addresses, and raw paths; only the matched route.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field::Empty};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const PROBES: [&str; 2] = ["/health", "/ready"];

/// Runs a request inside its span.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = next_id();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let (mut head, body) = request.into_parts();
    let room_id = room_id(&mut head).await;
    // The user is recorded after authentication.
    let span = tracing::info_span!(
        "request",
        request.id = id,
        user.id = Empty,
        server.name = Empty,
        room.id = room_id
    );
    let mut response = next
        .run(Request::from_parts(head, body))
        .instrument(span.clone())
        .await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    report(&span, &method, route, response.status(), started.elapsed());
    response
}

fn report(span: &Span, method: &Method, route: &str, status: StatusCode, duration: Duration) {
    // Microsecond precision.
    let duration_ms = duration.as_micros() as f64 / 1000.0;
    let status_code = status.as_u16();
    macro_rules! log {
        ($level:ident, $text:literal) => {
            tracing::$level!(parent: span, %method, route, status = status_code, duration_ms, $text)
        };
    }
    match status {
        _ if status.is_server_error() => log!(warn, "Request failed"),
        // Load balancers poll every few seconds.
        _ if PROBES.contains(&route) => log!(debug, "Request answered"),
        _ => log!(info, "Request answered"),
    }
    let labels = [
        ("method", label(method).to_owned()),
        ("route", route.to_owned()),
        ("status", status_code.to_string()),
    ];
    metrics::histogram!("chancery_http_request_duration_seconds", &labels).record(duration);
}

/// The method as a label; arbitrary methods would create a time series each.
fn label(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::HEAD
        | Method::PATCH => method.as_str(),
        _ => "other",
    }
}

/// The room id in the path, if any.
async fn room_id(head: &mut http::request::Parts) -> Option<String> {
    let params = RawPathParams::from_request_parts(head, &()).await.ok()?;
    let room = params.iter().find(|(name, _)| *name == "room_id");
    room.map(|(_, id)| id.to_owned())
}

/// A request id, unique within the process and rarely repeated after it.
fn next_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{number:x}", std::process::id())
}
