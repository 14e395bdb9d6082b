//! The server-server API: keys and version, and what other servers may query.

mod edu;
pub(crate) mod events;
pub(crate) mod membership;
pub(crate) mod public_rooms;
pub(crate) mod query;
pub(crate) mod send;
pub(crate) mod spaces;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde_json::json;

use crate::{App, Result, json, json::RawJson};

/// The server's name and version.
pub(crate) async fn version() -> RawJson {
    let server = json!({ "name": "Chancery", "version": env!("CARGO_PKG_VERSION") });
    json!({ "server": server }).to_string().into()
}

/// The server's signing keys, self-signed.
pub(crate) async fn keys(State(app): State<App>) -> Result<Response> {
    let keys = app.federation.own_keys()?;
    Ok(json::json_response(StatusCode::OK, keys))
}
