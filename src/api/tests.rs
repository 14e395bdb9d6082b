//! What is refused before any handler runs, on three endpoints of the specification.

use std::{net::IpAddr, sync::Arc};

use axum::{Router, body::Body, extract::Request};
use bytes::Bytes;
use config::{RateLimit, RateLimits};
use federation::Credentials;
use http::{Method, StatusCode, header, request::Parts};
use identity::{ActiveUser, AppServiceUser, Caller};
use ruma::{
    api::client::{
        account::{register, whoami},
        membership::joined_rooms,
        message::send_message_event,
        profile::get_profile,
    },
    owned_device_id, owned_user_id,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use types::ErrorKind;

use crate::{
    Error, Matrix, Result, Routes,
    authenticate::ApiState,
    json::RawJson,
    limits::{Class, Limits},
};

const SEND: &str = "/_matrix/client/v3/rooms/!r:a.org/send/m.room.message/t";

#[derive(Clone)]
struct TestState(Arc<Limits>);

impl ApiState for TestState {
    async fn caller(&self, token: &str, _: IpAddr) -> Result<Caller> {
        let user = ActiveUser {
            user_id: owned_user_id!("@alice:a.org"),
            device_id: owned_device_id!("PHONE"),
            session_nid: 1,
            is_admin: false,
        };
        match token {
            "alice" => Ok(Caller::User(user)),
            "guest" => Ok(Caller::Guest(user)),
            "bridge" => Ok(Caller::AppService(AppServiceUser {
                service_id: "bridge".to_owned(),
                user_id: user.user_id,
                device_id: None,
            })),
            "old" => Err(Error::new(
                ErrorKind::UnknownToken { soft_logout: true },
                "Expired",
            )),
            _ => Err(Error::new(
                ErrorKind::UnknownToken { soft_logout: false },
                "Unknown",
            )),
        }
    }

    fn credentials(&self, _: &Parts) -> Result<Credentials> {
        Err(Error::new(ErrorKind::Unauthorized, "No server may call"))
    }

    async fn verify_signature(&self, _: &Credentials, _: &Parts, _: &Bytes) -> Result<()> {
        Err(Error::new(ErrorKind::Unauthorized, "No server may call"))
    }

    fn limits(&self) -> &Limits {
        &self.0
    }

    fn max_body(&self) -> usize {
        200 * 1024
    }
}

async fn send(_: TestState, call: Matrix<send_message_event::v3::Request>) -> Result<RawJson> {
    let body = call.request.body.json().get();
    let text = json!({ "txn": call.request.txn_id, "sender": call.caller.user_id(), "body": body });
    Ok(RawJson(text.to_string().into_bytes()))
}

async fn whoami(_: TestState, call: Matrix<whoami::v3::Request>) -> Result<whoami::v3::Response> {
    Ok(whoami::v3::Response::new(
        call.caller.user_id().to_owned(),
        call.caller.is_guest(),
    ))
}

async fn register(
    _: TestState,
    call: Matrix<register::v3::Request>,
) -> Result<register::v3::Response> {
    Err(Error::new(
        ErrorKind::Forbidden,
        call.request.username.unwrap_or_default(),
    ))
}

async fn joined(
    _: TestState,
    _: Matrix<joined_rooms::v3::Request>,
) -> Result<joined_rooms::v3::Response> {
    Ok(joined_rooms::v3::Response::new(vec![]))
}

async fn profile(
    _: TestState,
    _: Matrix<get_profile::v3::Request>,
) -> Result<get_profile::v3::Response> {
    Ok(get_profile::v3::Response::new())
}

fn router() -> Router {
    let limit = RateLimit {
        per_second: 0.001,
        burst: 3,
    };
    let limits = Limits::new(&RateLimits {
        send: limit,
        ..RateLimits::default()
    });
    Routes::default()
        .limited(Class::Send, send)
        .matrix(whoami)
        .matrix(joined)
        .matrix(register)
        .matrix(profile)
        .into_router(TestState(Arc::new(limits)))
}

/// Sends one request to a fresh router, and gives the status and the body.
async fn call(
    method: Method,
    uri: &str,
    token: &str,
    body: impl Into<Body>,
) -> (StatusCode, Value) {
    answer(router(), method, uri, token, body).await
}

async fn answer(
    router: Router,
    method: Method,
    uri: &str,
    token: &str,
    body: impl Into<Body>,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(uri);
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = router
        .oneshot(request.body(body.into()).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (head.status, serde_json::from_slice(&body).unwrap())
}

fn refused(answer: &(StatusCode, Value)) -> (u16, &str) {
    (answer.0.as_u16(), answer.1["errcode"].as_str().unwrap())
}

#[tokio::test]
async fn token_is_taken_from_the_header_or_the_query() {
    let in_query = call(
        Method::GET,
        "/_matrix/client/v3/account/whoami?access_token=alice",
        "",
        "",
    );
    assert_eq!(in_query.await.1["user_id"], "@alice:a.org");
    let in_header = call(
        Method::GET,
        "/_matrix/client/r0/account/whoami",
        "alice",
        "",
    );
    assert_eq!(in_header.await.1["user_id"], "@alice:a.org");
}

#[tokio::test]
async fn missing_unknown_and_expired_tokens_are_401() {
    let whoami = "/_matrix/client/v3/account/whoami";
    let missing = call(Method::GET, whoami, "", "").await;
    assert_eq!(refused(&missing), (401, "M_MISSING_TOKEN"));
    let unknown = call(Method::GET, whoami, "mallory", "").await;
    assert_eq!(refused(&unknown), (401, "M_UNKNOWN_TOKEN"));
    let expired = call(Method::GET, whoami, "old", "").await;
    assert_eq!(refused(&expired), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(expired.1["soft_logout"], true);
}

#[tokio::test]
async fn unknown_path_is_404_and_unknown_method_is_405() {
    let path = call(Method::GET, "/_matrix/client/v3/nothing", "alice", "").await;
    assert_eq!(refused(&path), (404, "M_UNRECOGNIZED"));
    let method = call(Method::DELETE, SEND, "alice", "").await;
    assert_eq!(refused(&method), (405, "M_UNRECOGNIZED"));
}

#[tokio::test]
async fn body_that_is_not_json_is_refused_as_such() {
    for body in ["", "{", "{]", "not json", "{\"a\":1}}"] {
        let answer = call(Method::PUT, SEND, "alice", body).await;
        assert_eq!(refused(&answer), (400, "M_NOT_JSON"), "{body}");
    }
    let answer = call(
        Method::POST,
        "/_matrix/client/v3/register",
        "",
        &b"{\"test\":\"\x81\"}"[..],
    );
    assert_eq!(refused(&answer.await), (400, "M_NOT_JSON"));
}

#[tokio::test]
async fn body_of_the_wrong_shape_is_bad_json() {
    let register = "/_matrix/client/v3/register";
    for body in [r#"{"username":5}"#, r#"{"password":1.5}"#, "[]", "7"] {
        let answer = call(Method::POST, register, "", body).await;
        assert_eq!(refused(&answer), (400, "M_BAD_JSON"), "{body}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(
        refused(&call(Method::PUT, SEND, "alice", deep).await),
        (400, "M_BAD_JSON")
    );
}

#[tokio::test]
async fn absent_body_of_a_post_is_an_empty_object() {
    let answer = call(Method::POST, "/_matrix/client/v3/register", "", "").await;
    assert_eq!(refused(&answer), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn oversized_body_is_413() {
    let known = format!("{{\"body\":\"{}\"}}", "x".repeat(210 * 1024));
    assert_eq!(
        refused(&call(Method::PUT, SEND, "alice", known).await),
        (413, "M_TOO_LARGE")
    );
    let anybody = format!("{{\"password\":\"{}\"}}", "x".repeat(130 * 1024));
    let answer = call(Method::POST, "/_matrix/client/v3/register", "", anybody).await;
    assert_eq!(refused(&answer), (413, "M_TOO_LARGE"));
}

#[tokio::test]
async fn credentials_are_checked_before_the_body_is_read() {
    let answer = call(Method::PUT, SEND, "mallory", "not json").await;
    assert_eq!(refused(&answer), (401, "M_UNKNOWN_TOKEN"));
}

#[tokio::test]
async fn invalid_identifier_in_the_path_is_an_invalid_param() {
    for path in [
        "/_matrix/client/v3/profile/alice",
        "/_matrix/client/v3/profile/%ff",
        "/_matrix/client/v3/profile/%40a%00%3Aa.org",
    ] {
        let answer = call(Method::GET, path, "", "").await;
        assert_eq!(refused(&answer), (400, "M_INVALID_PARAM"), "{path}");
    }
}

#[tokio::test]
async fn path_arguments_are_percent_decoded() {
    let path = "/_matrix/client/v3/rooms/%21r%3Aa.org/send/m.room.message/a%2Fb%20c";
    let (status, body) = call(Method::PUT, path, "alice", r#"{"body":"x"}"#).await;
    assert_eq!((status.as_u16(), &body["txn"]), (200, &json!("a/b c")));
}

#[tokio::test]
async fn guests_may_call_what_the_specification_lists() {
    let whoami = "/_matrix/client/v3/account/whoami";
    let allowed = call(Method::GET, whoami, "guest", "").await;
    assert_eq!(allowed.1["is_guest"], true);
    let old_path = "/_matrix/client/r0/account/whoami";
    let allowed = call(Method::GET, old_path, "guest", "").await;
    assert_eq!(allowed.0, StatusCode::OK);
    let refused_answer = call(Method::GET, "/_matrix/client/v3/joined_rooms", "guest", "").await;
    assert_eq!(refused(&refused_answer), (403, "M_GUEST_ACCESS_FORBIDDEN"));
}

#[tokio::test]
async fn application_services_call_without_a_device() {
    let (status, body) = call(Method::PUT, SEND, "bridge", "{}").await;
    assert_eq!(
        (status, &body["sender"]),
        (StatusCode::OK, &json!("@alice:a.org"))
    );
}

#[tokio::test]
async fn calls_over_the_budget_get_a_retry_after() {
    let router = router();
    for _ in 0..3 {
        let (status, _) = answer(router.clone(), Method::PUT, SEND, "alice", "{}").await;
        assert_eq!(status, StatusCode::OK);
    }
    let limited = answer(router, Method::PUT, SEND, "alice", "{}").await;
    assert_eq!(refused(&limited), (429, "M_LIMIT_EXCEEDED"));
    assert!(limited.1["retry_after_ms"].as_u64().unwrap() > 0);
}
