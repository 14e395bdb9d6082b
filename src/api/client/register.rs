//! Creating accounts.

use std::time::Duration;

use identity::{Application, DeviceRequest, Error, Login};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::account::{
        check_registration_token_validity, get_username_availability,
        register::{self, RegistrationKind},
    },
};
use serde::Serialize;
use types::Secret;

use crate::{App, Matrix, Result, interactive::Interactive, json::RawJson};

/// Registers an account, and logs it in unless the client does not want that.
pub(crate) async fn register(
    app: App,
    call: Matrix<Interactive<register::v3::Request>>,
) -> Result<RawJson> {
    let Interactive {
        request,
        interaction,
    } = call.request;
    if request.kind == RegistrationKind::Guest {
        return Err(Error::GuestsRefused.into());
    }
    app.identity.registration_flows()?;
    if let Some(username) = &request.username {
        app.identity.check_available(username).await?;
    }
    let confirmed = interaction.confirm_registration(&app).await?;
    let (user_id, login) = app
        .identity
        .register(application(request), confirmed)
        .await?;
    let session = login.map(Session::from);
    let body = serde_json::to_vec(&Registered { user_id, session }).map_err(Error::from)?;
    Ok(RawJson(body))
}

/// The answer; ruma's has a null where there is no device.
#[derive(Serialize)]
struct Registered {
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

fn application(request: register::v3::Request) -> Application {
    let device = DeviceRequest {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refreshable: request.refresh_token,
    };
    Application {
        username: request.username,
        password: request.password.map(Secret::new),
        device: (!request.inhibit_login).then_some(device),
    }
}

/// Tells whether a name may be registered.
pub(crate) async fn available(
    app: App,
    call: Matrix<get_username_availability::v3::Request>,
) -> Result<get_username_availability::v3::Response> {
    app.identity.check_available(&call.request.username).await?;
    Ok(get_username_availability::v3::Response::new(true))
}

/// Tells whether a registration token may be used.
pub(crate) async fn token_validity(
    app: App,
    call: Matrix<check_registration_token_validity::v1::Request>,
) -> Result<check_registration_token_validity::v1::Response> {
    // Where nobody may register no token is any good.
    app.identity.registration_flows()?;
    let valid = app
        .identity
        .is_registration_token_valid(&call.request.token)
        .await?;
    Ok(check_registration_token_validity::v1::Response::new(valid))
}
