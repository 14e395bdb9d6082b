//! Logout.

use ruma::api::client::session::{logout, logout_all};

use crate::{App, Matrix, Result};

/// Ends the session of the request.
pub(crate) async fn one(
    app: App,
    call: Matrix<logout::v3::Request>,
) -> Result<logout::v3::Response> {
    app.identity.logout(call.caller.session()?).await?;
    Ok(logout::v3::Response::new())
}

/// Ends all sessions of the caller.
pub(crate) async fn all(
    app: App,
    call: Matrix<logout_all::v3::Request>,
) -> Result<logout_all::v3::Response> {
    app.identity.logout_all(call.caller.user_id()).await?;
    Ok(logout_all::v3::Response::new())
}
