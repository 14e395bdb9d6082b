//! Delayed events (MSC4140): scheduling them on the endpoints that send, and the endpoints to manage them.

mod requests;

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use room::{DelayedDraft, DelayedEvent, Sender};
use ruma::{OwnedEventId, RoomId, events::TimelineEventType};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use types::ErrorKind;

use self::requests::{Action, List, One, Schedule, Update, UpdateByBody};
use super::sender;
use crate::{
    App, Error, Matrix, Result,
    json::{RawJson, json_response},
    matrix::IntoMatrixResponse,
};

/// The query parameter that delays an event, in milliseconds.
pub(crate) const DELAY: &str = "org.matrix.msc4140.delay";
/// An event that is sent with another one; the proposal has dropped it.
const PARENT: &str = "org.matrix.msc4140.parent_delay_id";

/// What a request to send an event has brought about.
pub(crate) enum Sent {
    /// It was sent.
    Event(OwnedEventId),
    /// It is sent later.
    Delayed(String),
}

impl IntoMatrixResponse for Sent {
    fn into_matrix_response(self) -> Response {
        let body = match self {
            Self::Event(event_id) => json!({ "event_id": event_id }),
            Self::Delayed(delay_id) => json!({ "delay_id": delay_id }),
        };
        json_response(http::StatusCode::OK, body.to_string())
    }
}

/// An event of a request, which may be delayed.
pub(crate) struct Draft<'a> {
    pub(crate) room_id: &'a RoomId,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<&'a str>,
    /// The body as it was sent.
    pub(crate) body: &'a Bytes,
}

/// How long an event is to be delayed, if the query says so.
pub(crate) fn delay(query: &str) -> Result<Option<Duration>> {
    if query.is_empty() {
        return Ok(None);
    }
    let parameters: Vec<(String, String)> = serde_html_form::from_str(query).unwrap_or_default();
    let value = |name: &str| {
        let found = parameters.iter().find(|(parameter, _)| parameter == name);
        found.map(|(_, value)| value)
    };
    if value(PARENT).is_some() {
        return Err(Error::new(
            ErrorKind::InvalidParam,
            format!("`{PARENT}` is not supported"),
        ));
    }
    let delay = value(DELAY).map(|value| value.parse::<u64>());
    match delay {
        None => Ok(None),
        Some(Ok(millis)) if millis > 0 => Ok(Some(Duration::from_millis(millis))),
        Some(_) => Err(Error::new(
            ErrorKind::InvalidParam,
            format!("`{DELAY}` must be a positive number of milliseconds"),
        )),
    }
}

/// Schedules the event of a request. A repeated request needs no body: it is answered as before.
pub(crate) async fn schedule(
    app: &App,
    sender: &Sender,
    draft: Draft<'_>,
    delay: Duration,
) -> Result<Sent> {
    if draft.body.is_empty() {
        let scheduled = app
            .rooms
            .scheduled_by(draft.room_id, sender, &draft.event_type)
            .await?;
        let missing = || Error::new(ErrorKind::NotJson, "The body is missing");
        return scheduled.map(Sent::Delayed).ok_or_else(missing);
    }
    let content = std::str::from_utf8(draft.body)
        .ok()
        .and_then(|body| RawValue::from_string(body.to_owned()).ok());
    let content = content.ok_or_else(|| Error::new(ErrorKind::NotJson, "The body is not JSON"))?;
    let event = DelayedDraft {
        event_type: TimelineEventType::from(draft.event_type),
        state_key: draft.state_key.map(str::to_owned),
        content,
        delay,
    };
    let scheduled = app.rooms.schedule(draft.room_id, sender, event).await;
    scheduled.map(Sent::Delayed).map_err(refused)
}

/// Errors for which the proposal has names of its own.
fn refused(error: room::Error) -> Error {
    let (name, max_delay) = match &error {
        room::Error::DelayTooLong(max) => ("M_MAX_DELAY_EXCEEDED", Some(max.as_millis())),
        room::Error::UserLimit(_) => ("M_MAX_DELAYED_EVENTS_EXCEEDED", None),
        _ => return error.into(),
    };
    let error = Error::from(error).with_field("org.matrix.msc4140.errcode", name);
    match max_delay.and_then(|max| u64::try_from(max).ok()) {
        Some(max) => error.with_field("org.matrix.msc4140.max_delay", max),
        None => error,
    }
}

/// Schedules an event by an endpoint of its own.
pub(crate) async fn create(app: App, call: Matrix<Schedule>) -> Result<Sent> {
    let request = call.request;
    let sender = sender(&call.caller).with_transaction(request.transaction_id);
    let draft = DelayedDraft {
        event_type: request.event_type.into(),
        state_key: request.body.state_key,
        content: request.body.content,
        delay: Duration::from_millis(request.body.delay),
    };
    let scheduled = app.rooms.schedule(&request.room_id, &sender, draft).await;
    scheduled.map(Sent::Delayed).map_err(refused)
}

#[derive(Serialize)]
struct Shown {
    delay_id: String,
    room_id: ruma::OwnedRoomId,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<String>,
    delay: i64,
    running_since: i64,
    content: Box<RawValue>,
}

impl Shown {
    fn new(event: DelayedEvent) -> Result<Self> {
        Ok(Self {
            delay_id: event.delay_id,
            room_id: event.room_id,
            event_type: event.event_type,
            state_key: event.state_key,
            delay: event.delay_ms,
            running_since: event.running_since,
            content: RawValue::from_string(event.content).map_err(Error::serialization)?,
        })
    }
}

/// The caller's events that wait.
pub(crate) async fn list(app: App, call: Matrix<List>) -> Result<RawJson> {
    #[derive(Serialize)]
    struct Events {
        delayed_events: Vec<Shown>,
    }
    let events = app.rooms.delayed_events(call.caller.user_id()).await?;
    let events: Result<_> = events.into_iter().map(Shown::new).collect();
    let events = Events {
        delayed_events: events?,
    };
    RawJson::of(&events).map_err(Error::serialization)
}

/// One of the caller's events that wait.
pub(crate) async fn one(app: App, call: Matrix<One>) -> Result<RawJson> {
    let event = app
        .rooms
        .delayed_event(call.caller.user_id(), &call.request.delay_id)
        .await?;
    RawJson::of(&Shown::new(event)?).map_err(Error::serialization)
}

/// Restarts, cancels or sends an event, for whoever knows its id.
pub(crate) async fn update(app: App, call: Matrix<Update>) -> Result<RawJson> {
    let Update { delay_id, action } = call.request;
    let action = match &*action {
        "restart" => Action::Restart,
        "cancel" => Action::Cancel,
        "send" => Action::Send,
        _ => return Err(Error::unrecognized()),
    };
    act(&app, &delay_id, action).await
}

/// The same with the action in the body.
pub(crate) async fn update_by_body(app: App, call: Matrix<UpdateByBody>) -> Result<RawJson> {
    let UpdateByBody { delay_id, action } = call.request;
    act(&app, &delay_id, action).await
}

async fn act(app: &App, delay_id: &str, action: Action) -> Result<RawJson> {
    match action {
        Action::Restart => app.rooms.restart_delayed_event(delay_id).await?,
        Action::Cancel => app.rooms.cancel_delayed_event(delay_id).await?,
        Action::Send => app.rooms.send_delayed_event(delay_id).await?,
    }
    Ok("{}".to_owned().into())
}
