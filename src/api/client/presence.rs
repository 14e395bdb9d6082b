//! Presence: setting one's own, and reading that of others.

use live::{MAX_STATUS_MSG, PresenceState};
use ruma::{
    api::client::presence::{get_presence, set_presence},
    presence::PresenceState as Requested,
};
use types::ErrorKind;

use super::check_is_caller;
use crate::{App, Error, Matrix, Result};

/// Sets the caller's presence and status message. Without presence on this server it has no effect:
/// clients set it by themselves, and have nothing to do about an error.
pub(crate) async fn set(
    app: App,
    call: Matrix<set_presence::v3::Request>,
) -> Result<set_presence::v3::Response> {
    let set_presence::v3::Request {
        user_id,
        presence,
        status_msg,
        ..
    } = call.request;
    let session = call.caller.session()?;
    check_is_caller(&call.caller, &user_id)?;
    let state = state(&presence)?;
    let status_msg = status_msg.filter(|text| !text.is_empty());
    if status_msg
        .as_ref()
        .is_some_and(|text| text.len() > MAX_STATUS_MSG)
    {
        return Err(Error::new(
            ErrorKind::InvalidParam,
            format!("`status_msg` has more than {MAX_STATUS_MSG} bytes"),
        ));
    }
    let device_id = &session.device_id;
    app.live
        .set_presence(&user_id, device_id, state, status_msg);
    Ok(set_presence::v3::Response::new())
}

/// Returns the presence of the caller, or of a user who shares a room with the caller.
pub(crate) async fn get(
    app: App,
    call: Matrix<get_presence::v3::Request>,
) -> Result<get_presence::v3::Response> {
    let user_id = &call.request.user_id;
    let caller = call.caller.user_id();
    if !app.live.has_presence() {
        return Ok(get_presence::v3::Response::new(Requested::Offline));
    }
    if !app.live.may_see_presence(caller, user_id).await? {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "You do not share a room with this user",
        ));
    }
    let presence = app.live.presence(user_id);
    let is_online = presence.state == PresenceState::Online;
    let mut response = get_presence::v3::Response::new(requested(presence.state));
    response.last_active_ago = presence.last_active_ago;
    response.currently_active = is_online.then_some(presence.currently_active);
    response.status_msg = presence.status_msg.as_deref().map(str::to_owned);
    Ok(response)
}

/// A state as clients and servers name it.
pub(crate) fn state(requested: &Requested) -> Result<PresenceState> {
    match requested {
        Requested::Offline => Ok(PresenceState::Offline),
        Requested::Unavailable => Ok(PresenceState::Unavailable),
        Requested::Online => Ok(PresenceState::Online),
        _ => Err(Error::new(
            ErrorKind::InvalidParam,
            "There is no such presence",
        )),
    }
}

fn requested(state: PresenceState) -> Requested {
    match state {
        PresenceState::Offline => Requested::Offline,
        PresenceState::Unavailable => Requested::Unavailable,
        PresenceState::Online => Requested::Online,
    }
}
