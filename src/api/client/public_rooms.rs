//! The room directory.

use event::RoomSummary;
use room::{DirectoryPage, DirectoryQuery};
use ruma::{
    ServerName, UInt,
    api::client::{
        directory::{
            get_public_rooms, get_public_rooms_filtered, get_room_visibility, set_room_visibility,
        },
        room::Visibility,
    },
    directory::{Filter, RoomTypeFilter},
};
use serde_json::{Map, Value, json};
use types::ManageDirectory;

use super::sender;
use crate::{App, Matrix, Result, json::RawJson};

/// How many rooms of another server's directory are on a page.
const MAX_REMOTE_PAGE: u32 = 500;

/// Lists public rooms.
pub(crate) async fn list(app: App, call: Matrix<get_public_rooms::v3::Request>) -> Result<RawJson> {
    let get_public_rooms::v3::Request {
        limit,
        since,
        server,
        ..
    } = call.request;
    let filter = Filter::default();
    page_of(&app, server.as_deref(), (limit, since, filter)).await
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
    page_of(&app, server.as_deref(), (limit, since, filter)).await
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
    let (room_id, sender) = (&call.request.room_id, sender(&call.caller));
    let admin = call.caller.admin::<ManageDirectory>();
    app.rooms
        .set_in_directory(room_id, &sender, listed, admin.as_ref())
        .await?;
    Ok(set_room_visibility::v3::Response::new())
}

/// A page of this or another server's directory: how many rooms, from where, and which.
pub(crate) type Wanted = (Option<UInt>, Option<String>, Filter);

/// A page of the directory of a server.
async fn page_of(app: &App, server: Option<&ServerName>, wanted: Wanted) -> Result<RawJson> {
    let other = server.filter(|server| *server != app.server_name);
    let Some(server) = other else {
        let page = app.rooms.directory(&query(wanted)).await?;
        return Ok(body(page).into());
    };
    let (limit, since, filter) = wanted;
    let limit = limit.and_then(|limit| u32::try_from(u64::from(limit)).ok());
    let limit = limit.unwrap_or(MAX_REMOTE_PAGE).min(MAX_REMOTE_PAGE);
    let page = app.federation.public_rooms(server, limit, since, filter);
    let page = page.await?;
    let body = page_body(&page.rooms, page.total, (page.next, page.previous));
    Ok(body.into())
}

/// The query for a page of this server's directory.
pub(crate) fn query((limit, from, filter): Wanted) -> DirectoryQuery {
    let room_types = filter.room_types.iter().map(RoomTypeFilter::as_str);
    let room_types: Vec<_> = room_types
        .map(|room_type| room_type.map(str::to_owned))
        .collect();
    DirectoryQuery {
        search: filter.generic_search_term,
        room_types: (!room_types.is_empty()).then_some(room_types),
        limit: limit.and_then(|limit| usize::try_from(u64::from(limit)).ok()),
        from,
        for_other_servers: false,
    }
}

/// A page of this server's directory as it is returned.
pub(crate) fn body(page: DirectoryPage) -> String {
    let total = u64::try_from(page.total).ok();
    page_body(&page.rooms, total, (page.next, page.previous))
}

fn page_body(
    rooms: &[RoomSummary],
    total: Option<u64>,
    (next, previous): (Option<String>, Option<String>),
) -> String {
    let mut body = Map::new();
    body.insert("chunk".to_owned(), json!(rooms));
    if let Some(total) = total {
        body.insert("total_room_count_estimate".to_owned(), total.into());
    }
    insert(&mut body, "next_batch", next);
    insert(&mut body, "prev_batch", previous);
    Value::Object(body).to_string()
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Option<String>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}
