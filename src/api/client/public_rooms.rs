//! The room directory.

use room::{DirectoryQuery, RoomListing};
use ruma::{
    UInt,
    api::client::{
        directory::{
            get_public_rooms, get_public_rooms_filtered, get_room_visibility, set_room_visibility,
        },
        room::Visibility,
    },
    directory::RoomTypeFilter,
};
use serde_json::{Map, Value, json};
use types::ErrorKind;

use super::sender;
use crate::{App, Error, Matrix, Result, json::RawJson};

/// Lists public rooms.
pub(crate) async fn list(app: App, call: Matrix<get_public_rooms::v3::Request>) -> Result<RawJson> {
    let get_public_rooms::v3::Request {
        limit,
        since,
        server,
        ..
    } = call.request;
    let query = DirectoryQuery {
        limit: count(limit),
        from: since,
        ..DirectoryQuery::default()
    };
    page(&app, server.as_deref(), query).await
}

/// Searches public rooms.
pub(crate) async fn search(
    app: App,
    call: Matrix<get_public_rooms_filtered::v3::Request>,
) -> Result<RawJson> {
    let get_public_rooms_filtered::v3::Request {
        limit,
        since,
        server,
        filter,
        ..
    } = call.request;
    let room_types: Vec<_> = filter
        .room_types
        .iter()
        .map(RoomTypeFilter::as_str)
        .collect();
    let query = DirectoryQuery {
        search: filter.generic_search_term,
        room_types: (!room_types.is_empty()).then(|| {
            room_types
                .into_iter()
                .map(|room_type| room_type.map(str::to_owned))
                .collect()
        }),
        limit: count(limit),
        from: since,
    };
    page(&app, server.as_deref(), query).await
}

/// Returns whether a room is listed.
pub(crate) async fn visibility(
    app: App,
    call: Matrix<get_room_visibility::v3::Request>,
) -> Result<get_room_visibility::v3::Response> {
    let listed = app.rooms.is_in_directory(&call.request.room_id).await?;
    let visibility = if listed {
        Visibility::Public
    } else {
        Visibility::Private
    };
    Ok(get_room_visibility::v3::Response::new(visibility))
}

/// Adds a room to the directory or removes it.
pub(crate) async fn set_visibility(
    app: App,
    call: Matrix<set_room_visibility::v3::Request>,
) -> Result<set_room_visibility::v3::Response> {
    let listed = call.request.visibility == Visibility::Public;
    app.rooms
        .set_in_directory(&call.request.room_id, &sender(&call.caller), listed)
        .await?;
    Ok(set_room_visibility::v3::Response::new())
}

async fn page(
    app: &App,
    server: Option<&ruma::ServerName>,
    query: DirectoryQuery,
) -> Result<RawJson> {
    if server.is_some_and(|server| server != app.server_name) {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "This server does not federate",
        ));
    }
    let page = app.rooms.directory(&query).await?;
    let mut body = json!({
        "chunk": page.rooms.iter().map(entry).collect::<Vec<_>>(),
        "total_room_count_estimate": page.total,
    });
    if let Some(body) = body.as_object_mut() {
        insert(body, "next_batch", page.next);
        insert(body, "prev_batch", page.previous);
    }
    Ok(body.to_string().into())
}

fn entry(room: &RoomListing) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("room_id".to_owned(), json!(room.room_id));
    entry.insert("num_joined_members".to_owned(), room.joined_members.into());
    entry.insert("world_readable".to_owned(), room.world_readable.into());
    entry.insert("guest_can_join".to_owned(), room.guest_can_join.into());
    insert(&mut entry, "name", room.name.clone());
    insert(&mut entry, "topic", room.topic.clone());
    insert(&mut entry, "canonical_alias", room.canonical_alias.clone());
    insert(&mut entry, "avatar_url", room.avatar_url.clone());
    insert(&mut entry, "room_type", room.room_type.clone());
    insert(&mut entry, "join_rule", room.join_rule.clone());
    entry
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Option<String>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

fn count(limit: Option<UInt>) -> Option<usize> {
    limit.and_then(|limit| usize::try_from(u64::from(limit)).ok())
}
