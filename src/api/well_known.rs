//! `/.well-known/matrix/`: server discovery and support contacts.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use ruma::api::client::discovery::{discover_homeserver, discover_support};
use serde_json::json;
use types::ErrorKind;

use crate::{
    App, Error, Matrix, Result,
    json::{self, RawJson},
};

/// The base URL of the client API.
pub(crate) async fn client(
    app: App,
    _call: Matrix<discover_homeserver::Request>,
) -> Result<discover_homeserver::Response> {
    let base_url = app
        .well_known
        .client_base_url
        .as_ref()
        .unwrap_or(&app.base_url)
        .clone();
    let homeserver = discover_homeserver::HomeserverInfo::new(base_url);
    Ok(discover_homeserver::Response::new(homeserver))
}

/// The federation address, if configured.
pub(crate) async fn server(State(app): State<App>) -> Response {
    match &app.well_known.server {
        Some(server) => {
            json::json_response(StatusCode::OK, json!({ "m.server": server }).to_string())
        }
        None => not_configured().into_response(),
    }
}

/// The support contacts, if configured.
pub(crate) async fn support(app: App, _call: Matrix<discover_support::Request>) -> Result<RawJson> {
    let settings = &app.well_known;
    if settings.support_contacts.is_empty() && settings.support_page.is_none() {
        return Err(not_configured());
    }
    let mut body = json!({ "contacts": settings.support_contacts });
    if let (Some(page), Some(body)) = (&settings.support_page, body.as_object_mut()) {
        body.insert("support_page".to_owned(), page.as_str().into());
    }
    Ok(body.to_string().into())
}

fn not_configured() -> Error {
    Error::new(ErrorKind::NotFound, "This is not configured")
}
