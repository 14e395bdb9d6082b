//! Event relations.

use identity::Caller;
use room::{HistoryFilter, PageRequest, RelationsQuery};
use ruma::{
    EventId, RoomId, UInt,
    api::{
        Direction,
        client::relations::{
            get_relating_events, get_relating_events_with_rel_type,
            get_relating_events_with_rel_type_and_event_type,
        },
    },
};
use types::PageToken;

use super::reader;
use crate::{App, Matrix, Result, json::RawJson};

/// The default page size.
const DEFAULT_LIMIT: usize = 20;

/// Lists all events that relate to an event.
pub(crate) async fn all(
    app: App,
    call: Matrix<get_relating_events::v1::Request>,
) -> Result<RawJson> {
    let request = call.request;
    let query = RelationsQuery {
        rel_type: None,
        event_type: None,
        recurse: request.recurse,
        page: page(request.from, request.to, request.dir, request.limit)?,
    };
    answer(
        &app,
        &call.caller,
        &request.room_id,
        &request.event_id,
        &query,
    )
    .await
}

/// Lists those of one relation type.
pub(crate) async fn of_type(
    app: App,
    call: Matrix<get_relating_events_with_rel_type::v1::Request>,
) -> Result<RawJson> {
    let request = call.request;
    let query = RelationsQuery {
        rel_type: Some(request.rel_type.to_string()),
        event_type: None,
        recurse: request.recurse,
        page: page(request.from, request.to, request.dir, request.limit)?,
    };
    answer(
        &app,
        &call.caller,
        &request.room_id,
        &request.event_id,
        &query,
    )
    .await
}

/// Lists those of one relation type and one event type.
pub(crate) async fn of_types(
    app: App,
    call: Matrix<get_relating_events_with_rel_type_and_event_type::v1::Request>,
) -> Result<RawJson> {
    let request = call.request;
    let query = RelationsQuery {
        rel_type: Some(request.rel_type.to_string()),
        event_type: Some(request.event_type.to_string()),
        recurse: request.recurse,
        page: page(request.from, request.to, request.dir, request.limit)?,
    };
    answer(
        &app,
        &call.caller,
        &request.room_id,
        &request.event_id,
        &query,
    )
    .await
}

fn page(
    from: Option<String>,
    to: Option<String>,
    direction: Direction,
    limit: Option<UInt>,
) -> Result<PageRequest> {
    Ok(PageRequest {
        from: from.as_deref().map(str::parse::<PageToken>).transpose()?,
        to: to.as_deref().map(str::parse::<PageToken>).transpose()?,
        direction,
        limit: limit.map_or(DEFAULT_LIMIT, |limit| {
            usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
        }),
        filter: HistoryFilter::default(),
    })
}

async fn answer(
    app: &App,
    caller: &Caller,
    room_id: &RoomId,
    event_id: &EventId,
    query: &RelationsQuery,
) -> Result<RawJson> {
    let rooms = &app.rooms;
    Ok(rooms
        .relations(room_id, reader(caller), event_id, query)
        .await?
        .into())
}
