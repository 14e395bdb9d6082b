//! Unauthenticated federation endpoints: server version and signing keys.
//!
//! Spec: server-server, "Server implementation" and "Retrieving server keys".

use std::time::Duration;

use axum::{extract::State, response::Response};
use http::StatusCode;
use ruma::{CanonicalJsonObject, CanonicalJsonValue};
use serde_json::json;

use crate::{App, error, json, json::RawJson};

/// How long other servers may cache the keys.
const KEYS_VALID: Duration = Duration::from_hours(24);

/// The server's name and version.
pub(crate) async fn version() -> RawJson {
    let server = json!({ "name": "Chancery", "version": env!("CARGO_PKG_VERSION") });
    json!({ "server": server }).to_string().into()
}

/// The server's signing keys, self-signed.
pub(crate) async fn keys(State(app): State<App>) -> Response {
    let valid_until = app
        .clock
        .now_ms()
        .saturating_add(KEYS_VALID.as_millis() as u64);
    let mut key = CanonicalJsonObject::new();
    key.insert("key".to_owned(), app.signer.public_key_base64().into());
    let mut verify_keys = CanonicalJsonObject::new();
    verify_keys.insert(
        app.signer.key_id().to_string(),
        CanonicalJsonValue::Object(key),
    );
    let mut body = CanonicalJsonObject::new();
    body.insert("server_name".to_owned(), app.server_name.to_string().into());
    body.insert(
        "verify_keys".to_owned(),
        CanonicalJsonValue::Object(verify_keys),
    );
    body.insert(
        "old_verify_keys".to_owned(),
        CanonicalJsonValue::Object(CanonicalJsonObject::new()),
    );
    body.insert(
        "valid_until_ts".to_owned(),
        ruma::UInt::new_saturating(valid_until).into(),
    );
    if let Err(error) = app.signer.sign_json(&mut body) {
        return error::serialization_error(&error);
    }
    match serde_json::to_string(&body) {
        Ok(text) => json::json_response(StatusCode::OK, text),
        Err(error) => error::serialization_error(&error),
    }
}
