//! Tokens with which users prove to others who they are.

use ruma::{api::client::account::request_openid_token, authentication::TokenType};

use super::check_is_caller;
use crate::{App, Matrix, Result};

/// Creates a token.
pub(crate) async fn request_token(
    app: App,
    call: Matrix<request_openid_token::v3::Request>,
) -> Result<request_openid_token::v3::Response> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let token = app.identity.openid_token(call.caller.user_id()).await?;
    Ok(request_openid_token::v3::Response::new(
        token.token,
        TokenType::Bearer,
        app.server_name.clone(),
        token.expires_in,
    ))
}
