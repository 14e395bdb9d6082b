//! Room aliases.

use http::StatusCode;
use ruma::api::client::{
    alias::{create_alias, delete_alias, get_alias},
    room::aliases,
};

use types::ManageAliases;

use super::sender;
use crate::{App, Error, Matrix, Result};

/// Creates an alias for a room.
pub(crate) async fn create(
    app: App,
    call: Matrix<create_alias::v3::Request>,
) -> Result<create_alias::v3::Response> {
    let (alias, room_id) = (&call.request.room_alias, &call.request.room_id);
    match app
        .rooms
        .create_alias(room_id, &sender(&call.caller), alias)
        .await
    {
        Ok(()) => Ok(create_alias::v3::Response::new()),
        Err(error @ room::Error::AliasTaken(_)) => {
            Err(Error::from(error).with_status(StatusCode::CONFLICT))
        }
        Err(error) => Err(error.into()),
    }
}

/// Resolves an alias, for which its server is asked.
pub(crate) async fn resolve(
    app: App,
    call: Matrix<get_alias::v3::Request>,
) -> Result<get_alias::v3::Response> {
    let alias = &call.request.room_alias;
    if alias.server_name() != app.server_name {
        let found = app.federation.query_directory(alias).await?;
        return Ok(get_alias::v3::Response::new(found.room_id, found.servers));
    }
    let room_id = app.rooms.resolve_alias(alias).await?;
    let servers = app.rooms.servers(&room_id).await?;
    Ok(get_alias::v3::Response::new(room_id, servers))
}

/// Removes an alias.
pub(crate) async fn delete(
    app: App,
    call: Matrix<delete_alias::v3::Request>,
) -> Result<delete_alias::v3::Response> {
    let admin = call.caller.admin::<ManageAliases>();
    app.rooms
        .delete_alias(
            &sender(&call.caller),
            &call.request.room_alias,
            admin.as_ref(),
        )
        .await?;
    Ok(delete_alias::v3::Response::new())
}

/// Lists the aliases of a room.
pub(crate) async fn of_room(
    app: App,
    call: Matrix<aliases::v3::Request>,
) -> Result<aliases::v3::Response> {
    let aliases = app
        .rooms
        .aliases(&call.request.room_id, call.caller.user_id())
        .await?;
    Ok(aliases::v3::Response::new(aliases))
}
