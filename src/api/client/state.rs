//! Room state.

use ruma::api::client::state::{
    get_state_event_for_key::{self, v3::StateEventFormat},
    get_state_events, send_state_event,
};

use super::{reader, record_activity, refuse_delay, sender};
use crate::{App, Matrix, Result, json::RawJson};

/// Returns all state visible to the user.
pub(crate) async fn all(app: App, call: Matrix<get_state_events::v3::Request>) -> Result<RawJson> {
    let reader = reader(&call.caller);
    Ok(app.rooms.state(&call.request.room_id, reader).await?.into())
}

/// Returns the content of one state event, or the whole event.
pub(crate) async fn one(
    app: App,
    call: Matrix<get_state_event_for_key::v3::Request>,
) -> Result<RawJson> {
    let get_state_event_for_key::v3::Request {
        room_id,
        event_type,
        state_key,
        format,
        ..
    } = call.request;
    let reader = reader(&call.caller);
    let whole = format == StateEventFormat::Event;
    let body = app
        .rooms
        .state_event(&room_id, reader, &event_type, &state_key, whole)
        .await?;
    Ok(body.into())
}

/// Sets a state event.
pub(crate) async fn set(
    app: App,
    call: Matrix<send_state_event::v3::Request>,
) -> Result<send_state_event::v3::Response> {
    refuse_delay(&call.query)?;
    let send_state_event::v3::Request {
        room_id,
        event_type,
        state_key,
        body,
        ..
    } = call.request;
    let sender = sender(&call.caller);
    let content = body.into_json();
    let event_id = app
        .rooms
        .set_state(&room_id, &sender, event_type, &state_key, content)
        .await?;
    record_activity(&app, &call.caller);
    Ok(send_state_event::v3::Response::new(event_id))
}
