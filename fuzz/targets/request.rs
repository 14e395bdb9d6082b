//! A request: its first line is the method and the URI, the rest the body.
//!
//! `/login` is left out: its type is not the one of ruma, which panics on a body without a `type`.
//! Goes through routing, limits on size and nesting, and the decoding of typed requests, up to a handler.
#![no_main]

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use api::{
    Error, Matrix, Result, Routes,
    authenticate::{ApiState, Authenticate},
    json::RawJson,
    limits::Limits,
};
use axum::{
    Router,
    body::{Body, Bytes},
};
use federation::Credentials;
use http::{Request, header, request::Parts};
use identity::{ActiveUser, Caller};
use libfuzzer_sys::fuzz_target;
use ruma::{
    api::{
        IncomingRequest, Metadata,
        client::{
            account::register, config::set_global_account_data, filter::create_filter, keys::*,
            membership::join_room_by_id_or_alias, message::get_message_events, push::set_pushrule,
            receipt::create_receipt, room::create_room, state::send_state_event, sync::sync_events,
            to_device::send_event_to_device,
        },
    },
    owned_device_id, owned_user_id,
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;
use types::ErrorKind;

#[derive(Clone)]
struct FuzzState(Arc<Limits>);

impl ApiState for FuzzState {
    async fn caller(&self, _: &str, _: IpAddr) -> Result<Caller> {
        Ok(Caller::User(ActiveUser {
            user_id: owned_user_id!("@alice:a.org"),
            device_id: owned_device_id!("PHONE"),
            session_nid: 1,
            is_admin: false,
        }))
    }

    fn credentials(&self, _: &Parts) -> Result<Credentials> {
        Err(not_a_server())
    }

    async fn verify_signature(&self, _: &Credentials, _: &Parts, _: &Bytes) -> Result<()> {
        Err(not_a_server())
    }

    fn limits(&self) -> &Limits {
        &self.0
    }

    fn max_body(&self) -> usize {
        64 * 1024
    }
}

fn not_a_server() -> Error {
    Error::new(ErrorKind::Unauthorized, "No server may call")
}

async fn accept<R>(_: FuzzState, _: Matrix<R>) -> Result<RawJson>
where
    R: IncomingRequest + Metadata<Authentication: Authenticate>,
{
    Ok(RawJson(b"{}".to_vec()))
}

fn router() -> Router {
    Routes::default()
        .matrix(accept::<register::v3::Request>)
        .matrix(accept::<create_room::v3::Request>)
        .matrix(accept::<join_room_by_id_or_alias::v3::Request>)
        .matrix(accept::<send_state_event::v3::Request>)
        .matrix(accept::<get_message_events::v3::Request>)
        .matrix(accept::<create_receipt::v3::Request>)
        .matrix(accept::<sync_events::v3::Request>)
        .matrix(accept::<create_filter::v3::Request>)
        .matrix(accept::<set_global_account_data::v3::Request>)
        .matrix(accept::<set_pushrule::v3::Request>)
        .matrix(accept::<send_event_to_device::v3::Request>)
        .matrix(accept::<upload_keys::v3::Request>)
        .matrix(accept::<upload_signing_keys::v3::Request>)
        .matrix(accept::<upload_signatures::v3::Request>)
        .matrix(accept::<get_keys::v3::Request>)
        .matrix(accept::<claim_keys::v3::Request>)
        .into_router(FuzzState(Arc::new(Limits::off())))
}

static ROUTER: LazyLock<Router> = LazyLock::new(router);
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let builder = tokio::runtime::Builder::new_current_thread().build();
    builder.expect("a runtime")
});

fuzz_target!(|input: &[u8]| {
    let line_end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let (line, body) = input.split_at(line_end);
    let mut line = line.splitn(2, |byte| *byte == b' ');
    let (method, uri) = (
        line.next().unwrap_or_default(),
        line.next().unwrap_or_default(),
    );
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::AUTHORIZATION, "Bearer token")
        .body(Body::from(body.get(1..).unwrap_or_default().to_vec()));
    // What is no method or no URI never comes past the HTTP library.
    let Ok(request) = request else { return };
    let (status, body) = RUNTIME.block_on(async {
        let response = ROUTER.clone().oneshot(request).await.expect("a response");
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX)
            .await
            .expect("a body");
        (head.status, body)
    });
    assert!(!status.is_server_error(), "{status}");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(
        status.is_success() || body["errcode"].is_string(),
        "{status} {body}"
    );
});
