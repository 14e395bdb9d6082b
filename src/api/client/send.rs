//! Sending and redacting events.

use axum::{
    extract::{Request, State},
    response::Response,
};
use room::NewMessage;
use ruma::api::client::{message::send_message_event, redact::redact_event};

use super::{
    delayed_events::{self, Draft, Sent},
    record_activity, sender,
};
use crate::{App, Matrix, PathDefaults, Result, limits::Class, matrix::respond};

/// Sends a message event, once per transaction; later, if it is to be delayed.
pub(crate) async fn message(
    app: App,
    call: Matrix<send_message_event::v3::Request>,
) -> Result<Sent> {
    let delay = delayed_events::delay(&call.query)?;
    let sender = sender(&call.caller).with_transaction(call.request.txn_id);
    if let Some(delay) = delay {
        let draft = Draft {
            room_id: &call.request.room_id,
            event_type: call.request.event_type.to_string(),
            state_key: None,
            body: &call.body,
        };
        return delayed_events::schedule(&app, &sender, draft, delay).await;
    }
    let message = NewMessage {
        event_type: call.request.event_type.to_string().into(),
        content: call.request.body.into_json(),
    };
    let room_id = &call.request.room_id;
    let event_id = app.rooms.send(room_id, &sender, message).await?;
    record_activity(&app, &call.caller);
    Ok(Sent::Event(event_id))
}

/// Sends a message event without a transaction id.
pub(crate) async fn message_without_transaction(
    State(app): State<App>,
    request: Request,
) -> Response {
    let send = async || {
        let transaction = types::random::letters(20)?;
        let defaults = PathDefaults {
            arguments: &[&transaction],
            query: None,
        };
        let call = Matrix::receive(&app, request, Some(Class::Send), defaults).await?;
        message(app.clone(), call).await
    };
    respond(send().await)
}

/// Redacts an event, once per transaction.
pub(crate) async fn redact(
    app: App,
    call: Matrix<redact_event::v3::Request>,
) -> Result<redact_event::v3::Response> {
    let redact_event::v3::Request {
        room_id,
        event_id,
        txn_id,
        reason,
        ..
    } = call.request;
    let sender = sender(&call.caller).with_transaction(txn_id);
    let redaction = app
        .rooms
        .redact(&room_id, &sender, &event_id, reason.as_deref())
        .await?;
    record_activity(&app, &call.caller);
    Ok(redact_event::v3::Response::new(redaction))
}
