//! Deleting account data (MSC3391), for which ruma has no type.

use ruma::{OwnedRoomId, OwnedUserId, api::auth_scheme::AccessToken};

use super::refused;
use crate::{
    App, Matrix, Result,
    client::check_is_caller,
    endpoint::{arguments, endpoint},
    json::RawJson,
};

/// `DELETE` of global account data.
pub(crate) struct OfAccount {
    user_id: OwnedUserId,
    event_type: String,
}

/// `DELETE` of account data of a room.
pub(crate) struct OfRoom {
    user_id: OwnedUserId,
    room_id: OwnedRoomId,
    event_type: String,
}

/// Deletes global account data.
pub(crate) async fn delete_of_account(app: App, call: Matrix<OfAccount>) -> Result<RawJson> {
    let OfAccount {
        user_id,
        event_type,
    } = call.request;
    check_is_caller(&call.caller, &user_id)?;
    let deleted = app
        .identity
        .delete_account_data(&user_id, None, &event_type)
        .await;
    deleted.map_err(refused)?;
    Ok("{}".to_owned().into())
}

/// Deletes account data of a room.
pub(crate) async fn delete_of_room(app: App, call: Matrix<OfRoom>) -> Result<RawJson> {
    let OfRoom {
        user_id,
        room_id,
        event_type,
    } = call.request;
    check_is_caller(&call.caller, &user_id)?;
    let deleted = app
        .identity
        .delete_account_data(&user_id, Some(&room_id), &event_type)
        .await;
    deleted.map_err(refused)?;
    Ok("{}".to_owned().into())
}

endpoint!(
    OfAccount,
    DELETE "unstable/org.matrix.msc3391/user/{user_id}/account_data/{event_type}",
    AccessToken,
    |path_args, _| {
        let (user_id, event_type) = arguments(path_args)?;
        Ok(OfAccount {
            user_id,
            event_type,
        })
    }
);
endpoint!(
    OfRoom,
    DELETE "unstable/org.matrix.msc3391/user/{user_id}/rooms/{room_id}/account_data/{event_type}",
    AccessToken,
    |path_args, _| {
        let (user_id, room_id, event_type) = arguments(path_args)?;
        Ok(OfRoom {
            user_id,
            room_id,
            event_type,
        })
    }
);
