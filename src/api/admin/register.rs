//! Registration with the shared secret of the configuration.

use axum::{extract::State, response::Response};
use http::{Method, request::Parts};
use identity::SharedSecretRequest;
use ruma::api::{
    IncomingRequest, Metadata, auth_scheme::NoAuthentication, client::session::login,
    error::DeserializationError, path_builder::SinglePath,
};
use serde::Deserialize;
use serde_json::json;
use types::Secret;

use crate::{
    App, Matrix, Result, authenticate::address, client::login::response, json::RawJson,
    limits::Class, matrix::respond,
};

/// The path of both requests.
pub(crate) const PATH: &str = "/_synapse/admin/v1/register";

/// The body of the `POST`.
#[derive(Deserialize)]
pub(crate) struct Request {
    nonce: String,
    username: String,
    displayname: Option<String>,
    password: Secret,
    #[serde(default)]
    admin: bool,
    user_type: Option<String>,
    mac: String,
}

/// Issues a nonce for one registration.
pub(crate) async fn nonce(State(app): State<App>, head: Parts) -> Response {
    let nonce = async || {
        app.limits.take(Class::Registration, None, address(&head))?;
        let nonce = app.identity.registration_nonce().await?;
        Ok(RawJson::from(json!({ "nonce": nonce }).to_string()))
    };
    respond(nonce().await)
}

/// Registers an account and logs it in.
pub(crate) async fn register(app: App, call: Matrix<Request>) -> Result<login::v3::Response> {
    let request = call.request;
    let request = SharedSecretRequest {
        nonce: request.nonce,
        username: request.username,
        display_name: request.displayname,
        password: request.password,
        is_admin: request.admin,
        user_type: request.user_type,
        mac: request.mac,
    };
    let login = app.identity.register_with_shared_secret(request).await?;
    Ok(response(login, &app.server_name))
}

impl Metadata for Request {
    const METHOD: Method = Method::POST;
    const RATE_LIMITED: bool = true;
    type Authentication = NoAuthentication;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = SinglePath::new(PATH);
}

impl IncomingRequest for Request {
    type EndpointError = ruma::api::error::Error;
    type OutgoingResponse = login::v3::Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        _: &[&str],
    ) -> Result<Self, DeserializationError> {
        Ok(serde_json::from_slice(request.body())?)
    }
}
