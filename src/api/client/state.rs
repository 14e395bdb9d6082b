//! Room state.

use ruma::api::client::state::{
    get_state_event_for_key::{self, v3::StateEventFormat},
    get_state_events, send_state_event,
};

use super::{
    delayed_events::{self, Draft, Sent},
    invites, reader, record_activity, sender,
};
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

/// Sets a state event; later, if it is to be delayed.
pub(crate) async fn set(app: App, call: Matrix<send_state_event::v3::Request>) -> Result<Sent> {
    let delay = delayed_events::delay(&call.query)?;
    let send_state_event::v3::Request {
        room_id,
        event_type,
        state_key,
        body,
        ..
    } = call.request;
    let sender = sender(&call.caller);
    let type_name = event_type.to_string();
    let event = (&*type_name, &*state_key, body.json().get());
    invites::check_state(&app, &sender.user_id, event).await?;
    if let Some(delay) = delay {
        let draft = Draft {
            room_id: &room_id,
            event_type: type_name,
            state_key: Some(&state_key),
            body: &call.body,
        };
        return delayed_events::schedule(&app, &sender, draft, delay).await;
    }
    let content = body.into_json();
    let event_id = app
        .rooms
        .set_state(&room_id, &sender, event_type, &state_key, content)
        .await?;
    record_activity(&app, &call.caller);
    Ok(Sent::Event(event_id))
}
