use axum::routing::{get, post};
use futures::StreamExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

fn stack() -> Router {
    let router = Router::new()
        .route("/panics", get(async || -> &'static str { panic!("a bug") }))
        .route("/echo", post(async |body: String| body));
    wrap(router, 16)
}

async fn answer(request: Request<Body>) -> (StatusCode, http::HeaderMap, String) {
    let response = stack().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status,
        head.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn a_panic_is_answered_as_an_unknown_error() {
    let (status, headers, body) =
        answer(Request::get("/panics").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        body,
        r#"{"errcode":"M_UNKNOWN","error":"Internal server error"}"#
    );
    assert!(headers.contains_key("x-request-id"));
    assert_eq!(headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn a_preflight_request_is_answered_anywhere() {
    let request = Request::options("/_matrix/client/v3/login")
        .header("origin", "https://app.example.org")
        .header("access-control-request-method", "POST")
        .body(Body::empty())
        .unwrap();
    let (status, headers, _) = answer(request).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(
        headers["access-control-allow-methods"],
        "GET,POST,PUT,DELETE,OPTIONS"
    );
    assert_eq!(
        headers["access-control-allow-headers"],
        "x-requested-with,content-type,authorization"
    );
}

#[tokio::test]
async fn body_over_the_limit_is_refused_with_and_without_content_length() {
    let small = Request::post("/echo")
        .body(Body::from("sixteen letters."))
        .unwrap();
    assert_eq!(answer(small).await.0, StatusCode::OK);

    let said = Request::post("/echo")
        .body(Body::from("seventeen letters"))
        .unwrap();
    let (status, _, body) = answer(said).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(body.contains("M_TOO_LARGE"), "{body}");

    let chunks = futures::stream::iter(["seventeen", " letters"].map(Ok::<_, std::io::Error>));
    let unsaid = Request::post("/echo")
        .body(Body::from_stream(chunks))
        .unwrap();
    assert_ne!(answer(unsaid).await.0, StatusCode::OK);
}

/// A body whose parts come with a pause before each; it never ends if it is not whole.
fn slow(parts: &'static [&'static str], pause: Duration, is_whole: bool) -> Body {
    let parts = futures::stream::iter(parts).then(move |part| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::io::Error>(*part)
    });
    if is_whole {
        return Body::from_stream(parts);
    }
    Body::from_stream(parts.chain(futures::stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_is_not_waited_for() {
    for parts in [&[][..], &["six"][..]] {
        let start = tokio::time::Instant::now();
        let body = slow(parts, Duration::from_secs(29), false);
        let request = Request::post("/echo").body(body).unwrap();
        let (status, ..) = answer(request).await;
        assert!(status.is_client_error(), "{status}");
        let waited = Duration::from_secs(30 + 29 * parts.len() as u64);
        assert_eq!(start.elapsed().as_secs(), waited.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_goes_on_slowly_is_read_to_its_end() {
    let body = slow(
        &["six", "teen", " lett", "ers"],
        Duration::from_secs(29),
        true,
    );
    let request = Request::post("/echo").body(body).unwrap();
    let (status, _, body) = answer(request).await;
    assert_eq!((status, &*body), (StatusCode::OK, "sixteen letters"));
}
