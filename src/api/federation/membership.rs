//! Users of other servers come into rooms here, and out of them.
//!
//! Spec: server-server, "Joining Rooms", "Knocking upon a room", "Leaving Rooms".

use std::sync::Arc;

use event::Pdu;
use room::{AcceptedJoin, SentEvent};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId,
    api::federation::membership::{
        RawStrippedState, create_invite, create_join_event, create_knock_event, create_leave_event,
        prepare_join_event, prepare_knock_event, prepare_leave_event,
    },
};
use serde_json::value::{RawValue, to_raw_value};
use types::ErrorKind;

use crate::{App, Error, Matrix, Result, json::RawJson};

/// The event by which a user of another server may join a room.
pub(crate) async fn make_join(
    app: App,
    call: Matrix<prepare_join_event::v1::Request>,
) -> Result<prepare_join_event::v1::Response> {
    let prepare_join_event::v1::Request {
        room_id,
        user_id,
        ver,
        ..
    } = call.request;
    let made = app
        .rooms
        .make_join(call.caller.origin(), &room_id, &user_id, &ver);
    let template = made.await.map_err(with_version)?;
    let mut response = prepare_join_event::v1::Response::new(template.event);
    response.room_version = Some(template.version);
    Ok(response)
}

/// Adds a join to a room, and returns the room.
pub(crate) async fn send_join(
    app: App,
    call: Matrix<create_join_event::v2::Request>,
) -> Result<create_join_event::v2::Response> {
    let state = join(&app, &call).await?;
    Ok(create_join_event::v2::Response::new(state))
}

/// The same for older servers: the response is in a list.
pub(crate) async fn send_join_v1(
    app: App,
    call: Matrix<create_join_event::v2::Request>,
) -> Result<RawJson> {
    let state = join(&app, &call).await?;
    in_list(&state)
}

async fn join(
    app: &App,
    call: &Matrix<create_join_event::v2::Request>,
) -> Result<create_join_event::v2::RoomState> {
    let request = &call.request;
    let sent = sent(call, (&request.room_id, &request.event_id, &request.pdu));
    let AcceptedJoin {
        state,
        auth_chain,
        servers,
        event,
    } = app.rooms.accept_join(sent, request.omit_members).await?;
    let mut room_state = create_join_event::v2::RoomState::new();
    room_state.state = state.iter().map(raw).collect::<Result<_>>()?;
    room_state.auth_chain = auth_chain.iter().map(raw).collect::<Result<_>>()?;
    room_state.event = Some(raw(&event)?);
    room_state.members_omitted = servers.is_some();
    let servers = servers.map(|servers| servers.into_iter().map(Into::into).collect());
    room_state.servers_in_room = servers;
    Ok(room_state)
}

/// The event by which a user of another server may leave a room.
pub(crate) async fn make_leave(
    app: App,
    call: Matrix<prepare_leave_event::v1::Request>,
) -> Result<prepare_leave_event::v1::Response> {
    let (room_id, user_id) = (&call.request.room_id, &call.request.user_id);
    let made = app.rooms.make_leave(call.caller.origin(), room_id, user_id);
    let template = made.await?;
    let version = Some(template.version);
    Ok(prepare_leave_event::v1::Response::new(
        version,
        template.event,
    ))
}

/// Adds that a user leaves a room.
pub(crate) async fn send_leave(
    app: App,
    call: Matrix<create_leave_event::v2::Request>,
) -> Result<create_leave_event::v2::Response> {
    leave(&app, &call).await?;
    Ok(create_leave_event::v2::Response::new())
}

/// The same for older servers: the response is in a list.
pub(crate) async fn send_leave_v1(
    app: App,
    call: Matrix<create_leave_event::v2::Request>,
) -> Result<RawJson> {
    leave(&app, &call).await?;
    Ok("[200,{}]".to_owned().into())
}

async fn leave(app: &App, call: &Matrix<create_leave_event::v2::Request>) -> Result<()> {
    let request = &call.request;
    let sent = sent(call, (&request.room_id, &request.event_id, &request.pdu));
    Ok(app.rooms.accept_leave(sent).await?)
}

/// The event by which a user of another server may knock at a room.
pub(crate) async fn make_knock(
    app: App,
    call: Matrix<prepare_knock_event::v1::Request>,
) -> Result<prepare_knock_event::v1::Response> {
    let prepare_knock_event::v1::Request {
        room_id,
        user_id,
        ver,
        ..
    } = call.request;
    let made = app
        .rooms
        .make_knock(call.caller.origin(), &room_id, &user_id, &ver);
    let template = made.await.map_err(with_version)?;
    Ok(prepare_knock_event::v1::Response::new(
        template.version,
        template.event,
    ))
}

/// Adds a knock to a room, and returns what the user may know of it.
pub(crate) async fn send_knock(
    app: App,
    call: Matrix<create_knock_event::v1::Request>,
) -> Result<create_knock_event::v1::Response> {
    let request = &call.request;
    let sent = sent(&call, (&request.room_id, &request.event_id, &request.pdu));
    let state = app.rooms.accept_knock(sent).await?;
    let state = state.iter().map(|pdu| Ok(RawStrippedState::Pdu(raw(pdu)?)));
    let state: Result<Vec<_>> = state.collect();
    Ok(create_knock_event::v1::Response::new(state?))
}

/// Takes the invitation of a user of this server, and returns it signed.
pub(crate) async fn invite(
    app: App,
    call: Matrix<create_invite::v2::Request>,
) -> Result<create_invite::v2::Response> {
    let request = &call.request;
    let sent = sent(&call, (&request.room_id, &request.event_id, &request.event));
    let shown = &request.invite_room_state;
    let invite = accept_invite(&app, sent, &request.room_version, shown).await?;
    Ok(create_invite::v2::Response::new(raw(&invite)?))
}

/// The same for older servers, which know the first two room versions only: the event is the body.
pub(crate) async fn invite_v1(
    app: App,
    call: Matrix<create_invite::v1::Request>,
) -> Result<create_invite::v1::Response> {
    let body = std::str::from_utf8(&call.body)
        .ok()
        .and_then(|body| RawValue::from_string(body.to_owned()).ok());
    let body = body.ok_or_else(|| Error::new(ErrorKind::NotJson, "The body is not JSON"))?;
    let request = &call.request;
    let sent = sent(&call, (&request.room_id, &request.event_id, &body));
    let shown = &request.unsigned.invite_room_state;
    let invite = accept_invite(&app, sent, &RoomVersionId::V1, shown).await?;
    Ok(create_invite::v1::Response::new(raw(&invite)?))
}

async fn accept_invite(
    app: &App,
    sent: SentEvent<'_>,
    version: &RoomVersionId,
    shown: &[RawStrippedState],
) -> Result<Arc<Pdu>> {
    #[derive(serde::Deserialize)]
    struct Invite {
        sender: OwnedUserId,
        state_key: OwnedUserId,
    }
    let invite: Invite = serde_json::from_str(sent.pdu.get())
        .map_err(|error| Error::new(ErrorKind::BadJson, error.to_string()))?;
    // Fails if there is no such user.
    app.identity.profile(&invite.state_key).await?;
    app.identity
        .check_invite(&invite.state_key, &invite.sender)
        .await?;
    let shown = shown.iter().map(to_raw_value);
    let shown: Result<Vec<_>, _> = shown.collect();
    let accepted = app
        .rooms
        .accept_invite(sent, version, shown.map_err(Error::serialization)?);
    accepted.await.map_err(with_version)
}

fn sent<'a, R>(
    call: &'a Matrix<R>,
    (room_id, event_id, pdu): (&'a OwnedRoomId, &'a OwnedEventId, &'a RawValue),
) -> SentEvent<'a>
where
    R: ruma::api::Metadata<
            Authentication = ruma::api::federation::authentication::ServerSignatures,
        >,
{
    SentEvent {
        origin: call.caller.origin(),
        room_id,
        event_id,
        pdu,
    }
}

fn raw(pdu: &Arc<Pdu>) -> Result<Box<RawValue>> {
    RawValue::from_string(pdu.json().to_owned()).map_err(Error::serialization)
}

fn in_list(response: &impl serde::Serialize) -> Result<RawJson> {
    let response = serde_json::to_string(response).map_err(Error::serialization)?;
    Ok(format!("[200,{response}]").into())
}

/// The error of a room whose version the other server does not speak names it.
fn with_version(error: room::Error) -> Error {
    let version = match &error {
        room::Error::IncompatibleVersion(version) => Some(version.to_string()),
        _ => None,
    };
    let error = Error::from(error);
    match version {
        Some(version) => error.with_field("room_version", version),
        None => error,
    }
}
