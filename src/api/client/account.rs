//! The caller's account.

use identity::Caller;
use ruma::api::client::account::{ThirdPartyIdRemovalStatus, change_password, deactivate, whoami};
use types::{ErrorKind, Secret};

use super::sender;
use crate::{App, Error, Matrix, Result, uia::UiaRequest};

/// The user and device of the access token.
pub(crate) async fn whoami(
    _: App,
    call: Matrix<whoami::v3::Request>,
) -> Result<whoami::v3::Response> {
    let caller = call.caller;
    let mut response = whoami::v3::Response::new(caller.user_id().to_owned(), caller.is_guest());
    response.device_id = caller.device_id().map(ToOwned::to_owned);
    Ok(response)
}

/// Replaces the caller's password.
pub(crate) async fn change_password(
    app: App,
    call: Matrix<UiaRequest<change_password::v3::Request>>,
) -> Result<change_password::v3::Response> {
    let caller = logged_in(call.caller)?;
    let user = caller.session()?;
    let (request, confirmed) = call.request.confirm(&app, &caller).await?;
    let new_password = Secret::new(request.new_password);
    app.identity
        .change_password(user, new_password, request.logout_devices, confirmed)
        .await?;
    Ok(change_password::v3::Response::new())
}

/// Deactivates the caller's account and leaves all rooms.
pub(crate) async fn deactivate(
    app: App,
    call: Matrix<UiaRequest<deactivate::v3::Request>>,
) -> Result<deactivate::v3::Response> {
    let caller = logged_in(call.caller)?;
    let user = caller.session()?;
    let (request, confirmed) = call.request.confirm(&app, &caller).await?;
    app.identity
        .deactivate(user, request.erase, confirmed)
        .await?;
    app.rooms.leave_all(&sender(&caller)).await?;
    // There are no third-party identifiers to unbind.
    let nothing_left = ThirdPartyIdRemovalStatus::Success;
    Ok(deactivate::v3::Response::new(nothing_left))
}

/// Without a token a verified e-mail address would be needed, which is not supported.
fn logged_in(caller: Option<Caller>) -> Result<Caller> {
    caller.ok_or_else(|| Error::new(ErrorKind::MissingToken, "Missing access token"))
}
