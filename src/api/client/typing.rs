//! Typing notifications.

use ruma::api::client::typing::create_typing_event::v3::{Request, Response, Typing};
use types::ErrorKind;

use super::record_activity;
use crate::{App, Error, Matrix, Result};

/// Sets whether the user is typing.
pub(crate) async fn set(app: App, call: Matrix<Request>) -> Result<Response> {
    let Request {
        room_id,
        user_id,
        state,
        ..
    } = call.request;
    if user_id != call.caller.user_id() {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "You cannot set typing notifications of another user",
        ));
    }
    let time = match state {
        Typing::Yes(typing) => Some(typing.timeout),
        Typing::No => None,
    };
    record_activity(&app, &call.caller);
    if app.live.set_typing(&user_id, &room_id, time).await? {
        Ok(Response::new())
    } else {
        Err(Error::new(ErrorKind::Forbidden, "You are not in this room"))
    }
}
