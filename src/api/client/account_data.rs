//! Account data.

mod deletion;

use http::StatusCode;
use ruma::{
    RoomId, UserId,
    api::client::config::{
        get_global_account_data, get_room_account_data, set_global_account_data,
        set_room_account_data,
    },
};

pub(crate) use self::deletion::{delete_of_account, delete_of_room};
use crate::{App, Error, Matrix, Result, client::check_is_caller, json::RawJson};

/// Returns global account data.
pub(crate) async fn of_account(
    app: App,
    call: Matrix<get_global_account_data::v3::Request>,
) -> Result<RawJson> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let event_type = call.request.event_type.to_string();
    let content = app
        .identity
        .account_data(call.caller.user_id(), None, &event_type)
        .await?;
    Ok(content.into())
}

/// Returns account data of a room.
pub(crate) async fn of_room(
    app: App,
    call: Matrix<get_room_account_data::v3::Request>,
) -> Result<RawJson> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let (room_id, event_type) = (&*call.request.room_id, call.request.event_type.to_string());
    let content = app
        .identity
        .account_data(call.caller.user_id(), Some(room_id), &event_type)
        .await?;
    Ok(content.into())
}

/// Sets global account data.
pub(crate) async fn set_of_account(
    app: App,
    call: Matrix<set_global_account_data::v3::Request>,
) -> Result<set_global_account_data::v3::Response> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let event_type = call.request.event_type.to_string();
    let content = call.request.data.json().get();
    set(&app, &call.request.user_id, None, &event_type, content).await?;
    Ok(set_global_account_data::v3::Response::new())
}

/// Sets account data of a room.
pub(crate) async fn set_of_room(
    app: App,
    call: Matrix<set_room_account_data::v3::Request>,
) -> Result<set_room_account_data::v3::Response> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let event_type = call.request.event_type.to_string();
    let content = call.request.data.json().get();
    set(
        &app,
        &call.request.user_id,
        Some(&call.request.room_id),
        &event_type,
        content,
    )
    .await?;
    Ok(set_room_account_data::v3::Response::new())
}

async fn set(
    app: &App,
    user_id: &UserId,
    room_id: Option<&RoomId>,
    event_type: &str,
    content: &str,
) -> Result<()> {
    let done = app
        .identity
        .set_account_data(user_id, room_id, event_type, content)
        .await;
    done.map_err(refused)
}

/// Spec: client-server, "Client Config": 405 for what the server manages.
fn refused(error: identity::Error) -> Error {
    let is_managed = matches!(error, identity::Error::ManagedAccountData);
    let error = Error::from(error);
    if is_managed {
        error.with_status(StatusCode::METHOD_NOT_ALLOWED)
    } else {
        error
    }
}
