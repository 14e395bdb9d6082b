//! Refreshing access tokens.

use ruma::api::client::session::refresh_token::v3::{Request, Response};

use crate::{App, Matrix, Result};

/// Exchanges a refresh token for new tokens.
pub(crate) async fn refresh(app: App, call: Matrix<Request>) -> Result<Response> {
    let tokens = app.identity.refresh(&call.request.refresh_token).await?;
    let mut response = Response::new(tokens.access_token);
    response.refresh_token = tokens.refresh_token;
    response.expires_in_ms = tokens.expires_in;
    Ok(response)
}
