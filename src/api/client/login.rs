//! Login.

mod request;

use std::net::IpAddr;

use identity::{DeviceRequest, Login, LoginCredentials};
use ruma::{
    ServerName, UserId,
    api::client::session::{
        get_login_token,
        get_login_types::{
            self,
            v3::{LoginType, PasswordLoginType, TokenLoginType},
        },
        login::v3::Response,
    },
};

use crate::{App, Matrix, Result, uia::UiaRequest};

use self::request::Request;

/// Lists the login types.
pub(crate) async fn types(
    _: App,
    _: Matrix<get_login_types::v3::Request>,
) -> Result<get_login_types::v3::Response> {
    let mut token = TokenLoginType::new();
    token.get_login_token = true;
    let flows = vec![
        LoginType::Password(PasswordLoginType::new()),
        LoginType::Token(token),
    ];
    Ok(get_login_types::v3::Response::new(flows))
}

/// Logs in with a password or a token.
pub(crate) async fn login(app: App, call: Matrix<Request>) -> Result<Response> {
    let device = DeviceRequest {
        device_id: call.request.device_id.clone(),
        display_name: call.request.initial_device_display_name.clone(),
        refreshable: call.request.refresh_token,
    };
    let credentials = call.request.credentials()?;
    if let LoginCredentials::Password { user, .. } = &credentials
        && let Some(user_id) = app.identity.parse_user(user)
    {
        count_attempt(&app, &user_id, call.address).await?;
    }
    let login = app.identity.login(credentials, device).await?;
    Ok(response(login, &app.server_name))
}

/// Counts a password attempt: by account and address, and by account for all addresses where none of
/// its devices was seen. The route counts by address.
async fn count_attempt(app: &App, user_id: &UserId, address: IpAddr) -> Result<()> {
    app.limits.count_login_attempt(user_id, address)?;
    if app.identity.has_device_at(user_id, address).await? {
        return Ok(());
    }
    app.limits.count_login_attempt_from_unknown_address(user_id)
}

/// Creates a token with which another device can log in.
pub(crate) async fn token(
    app: App,
    call: Matrix<UiaRequest<get_login_token::v1::Request>>,
) -> Result<get_login_token::v1::Response> {
    let confirmed = call.request.attempt.confirm(&app, &call.caller).await?;
    let token = app
        .identity
        .login_token(call.caller.user_id(), confirmed)
        .await?;
    Ok(get_login_token::v1::Response::new(
        token.expires_in,
        token.token,
    ))
}

/// The response to a login.
#[expect(
    deprecated,
    reason = "clients and test suites still read `home_server`"
)]
pub(crate) fn response(login: Login, server_name: &ServerName) -> Response {
    let mut response = Response::new(login.user_id, login.tokens.access_token, login.device_id);
    response.home_server = Some(server_name.to_owned());
    response.refresh_token = login.tokens.refresh_token;
    response.expires_in = login.tokens.expires_in;
    response
}
