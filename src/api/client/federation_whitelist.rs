//! The servers that this one talks to, as administration tools and clients ask Synapse for them.

use axum::{extract::State, response::Response};
use http::request::Parts;
use serde_json::json;

use crate::{App, authenticate::caller, json::RawJson, matrix::respond};

/// The path of the request.
pub(crate) const PATH: &str = "/_synapse/client/v1/config/federation_whitelist";

/// The allowed servers, for users of this one.
pub(crate) async fn list(State(app): State<App>, head: Parts) -> Response {
    let list = async || {
        caller(&app, &head).await?;
        let allowlist = app.federation.policy().allowlist();
        let body = json!({
            "whitelist_enabled": allowlist.is_some(),
            "whitelist": allowlist.unwrap_or_default(),
        });
        Ok(RawJson::from(body.to_string()))
    };
    respond(list().await)
}
