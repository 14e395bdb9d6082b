//! Spaces, and rooms shown before they are joined.

use identity::Caller;
use room::HierarchyQuery;
use ruma::{
    RoomAliasId,
    api::client::{room::get_summary, space::get_hierarchy},
};
use types::ErrorKind;

use super::membership::room_and_servers;
use crate::{App, Error, Matrix, Result, json::RawJson};

/// The rooms of a space.
pub(crate) async fn hierarchy(
    app: App,
    call: Matrix<get_hierarchy::v1::Request>,
) -> Result<RawJson> {
    let get_hierarchy::v1::Request {
        room_id,
        from,
        limit,
        max_depth,
        suggested_only,
        ..
    } = call.request;
    let query = HierarchyQuery {
        room_id,
        suggested_only,
        max_depth: max_depth.map(u64::from),
        limit: limit.map(u64::from),
        from,
    };
    let page = app.rooms.hierarchy(call.caller.user_id(), &query).await?;
    RawJson::of(&page).map_err(Error::serialization)
}

/// A room, for somebody who may not be in it.
pub(crate) async fn summary(app: App, call: Matrix<get_summary::v1::Request>) -> Result<RawJson> {
    let get_summary::v1::Request {
        room_id_or_alias,
        via,
        ..
    } = call.request;
    let user_id = call.caller.as_ref().map(Caller::user_id);
    // Nobody has other servers asked without being logged in.
    let is_remote = |alias: &RoomAliasId| alias.server_name() != app.server_name;
    if user_id.is_none() && <&RoomAliasId>::try_from(&*room_id_or_alias).is_ok_and(is_remote) {
        return Err(Error::new(
            ErrorKind::NotFound,
            "This room is not known here",
        ));
    }
    let (room_id, via) = room_and_servers(&app, &room_id_or_alias, via).await?;
    let preview = app.rooms.preview(&room_id, user_id, &via).await?;
    RawJson::of(&preview).map_err(Error::serialization)
}
