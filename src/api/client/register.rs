//! Creating accounts.

use identity::{Application, DeviceRequest, Error};
use ruma::api::client::account::{
    check_registration_token_validity, get_username_availability,
    register::{self, RegistrationKind},
};
use types::Secret;

use crate::{App, Matrix, Result, interactive::Interactive};

/// Registers an account, and logs it in unless the client does not want that.
pub(crate) async fn register(
    app: App,
    call: Matrix<Interactive<register::v3::Request>>,
) -> Result<register::v3::Response> {
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
    let mut response = register::v3::Response::new(user_id);
    if let Some(login) = login {
        response.device_id = Some(login.device_id);
        response.access_token = Some(login.tokens.access_token);
        response.refresh_token = login.tokens.refresh_token;
        response.expires_in = login.tokens.expires_in;
    }
    Ok(response)
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
    let valid = app
        .identity
        .is_registration_token_valid(&call.request.token)
        .await?;
    Ok(check_registration_token_validity::v1::Response::new(valid))
}
