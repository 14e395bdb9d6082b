//! Registration.

use std::time::Duration;

use identity::{DeviceRequest, Error, Login, RegistrationRequest};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::account::{
        check_registration_token_validity, get_username_availability,
        register::{self, RegistrationKind},
    },
};
use serde::Serialize;
use types::Secret;

use crate::{App, Matrix, Result, json::RawJson, uia::UiaRequest};

/// Registers an account and logs it in unless the client inhibits that.
pub(crate) async fn register(
    app: App,
    call: Matrix<UiaRequest<register::v3::Request>>,
) -> Result<RawJson> {
    let UiaRequest { request, attempt } = call.request;
    if request.kind == RegistrationKind::Guest {
        return Err(Error::GuestAccessForbidden.into());
    }
    app.identity.registration_flows()?;
    if let Some(username) = &request.username {
        app.identity.check_available(username).await?;
    }
    let confirmed = attempt.confirm_registration(&app).await?;
    let (user_id, login) = app
        .identity
        .register(registration(request), confirmed)
        .await?;
    let session = login.map(Session::from);
    let body =
        serde_json::to_vec(&RegistrationResponse { user_id, session }).map_err(Error::from)?;
    Ok(RawJson(body))
}

/// The response; ruma's serializes an absent device as null.
#[derive(Serialize)]
struct RegistrationResponse {
    user_id: OwnedUserId,
    #[serde(flatten)]
    session: Option<Session>,
}

#[derive(Serialize)]
struct Session {
    device_id: OwnedDeviceId,
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
}

impl From<Login> for Session {
    fn from(login: Login) -> Self {
        let millis = |lifetime: Duration| lifetime.as_millis() as u64;
        Self {
            device_id: login.device_id,
            access_token: login.tokens.access_token,
            refresh_token: login.tokens.refresh_token,
            expires_in_ms: login.tokens.expires_in.map(millis),
        }
    }
}

fn registration(request: register::v3::Request) -> RegistrationRequest {
    let device = DeviceRequest {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refreshable: request.refresh_token,
    };
    RegistrationRequest {
        username: request.username,
        password: request.password.map(Secret::new),
        device: (!request.inhibit_login).then_some(device),
    }
}

/// Returns whether a username is available.
pub(crate) async fn available(
    app: App,
    call: Matrix<get_username_availability::v3::Request>,
) -> Result<get_username_availability::v3::Response> {
    app.identity.check_available(&call.request.username).await?;
    Ok(get_username_availability::v3::Response::new(true))
}

/// Returns whether a registration token is valid.
pub(crate) async fn token_validity(
    app: App,
    call: Matrix<check_registration_token_validity::v1::Request>,
) -> Result<check_registration_token_validity::v1::Response> {
    // No token is valid if registration is closed.
    app.identity.registration_flows()?;
    let valid = app
        .identity
        .is_registration_token_valid(&call.request.token)
        .await?;
    Ok(check_registration_token_validity::v1::Response::new(valid))
}
