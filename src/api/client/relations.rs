//! The events that relate to an event.

use room::{EventFilter, PageRequest, Reader, RelationsQuery};
use ruma::{
    OwnedEventId, OwnedRoomId, UInt,
    api::{
        Direction,
        client::relations::{
            get_relating_events, get_relating_events_with_rel_type,
            get_relating_events_with_rel_type_and_event_type,
        },
    },
};
use types::PageToken;

use crate::{App, Matrix, Result, json::RawJson};

/// How many events a page has if the client does not say.
const DEFAULT_LIMIT: usize = 20;

/// Lists all events that relate to an event.
pub(crate) async fn all(
    app: App,
    call: Matrix<get_relating_events::v1::Request>,
) -> Result<RawJson> {
    let get_relating_events::v1::Request {
        room_id,
        event_id,
        from,
        to,
        dir,
        limit,
        ..
    } = call.request;
    let page = page(from, to, dir, limit)?;
    let query = RelationsQuery {
        rel_type: None,
        event_type: None,
        page,
    };
    answer(&app, &call.caller, room_id, event_id, query).await
}

/// Lists those of one relation type.
pub(crate) async fn of_type(
    app: App,
    call: Matrix<get_relating_events_with_rel_type::v1::Request>,
) -> Result<RawJson> {
    let get_relating_events_with_rel_type::v1::Request {
        room_id,
        event_id,
        rel_type,
        from,
        to,
        dir,
        limit,
        ..
    } = call.request;
    let page = page(from, to, dir, limit)?;
    let query = RelationsQuery {
        rel_type: Some(rel_type.to_string()),
        event_type: None,
        page,
    };
    answer(&app, &call.caller, room_id, event_id, query).await
}

/// Lists those of one relation type and one event type.
pub(crate) async fn of_types(
    app: App,
    call: Matrix<get_relating_events_with_rel_type_and_event_type::v1::Request>,
) -> Result<RawJson> {
    let get_relating_events_with_rel_type_and_event_type::v1::Request {
        room_id,
        event_id,
        rel_type,
        event_type,
        from,
        to,
        dir,
        limit,
        ..
    } = call.request;
    let query = RelationsQuery {
        rel_type: Some(rel_type.to_string()),
        event_type: Some(event_type.to_string()),
        page: page(from, to, dir, limit)?,
    };
    answer(&app, &call.caller, room_id, event_id, query).await
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
        filter: EventFilter::default(),
    })
}

async fn answer(
    app: &App,
    caller: &identity::ActiveUser,
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    query: RelationsQuery,
) -> Result<RawJson> {
    let reader = Reader {
        user_id: &caller.user_id,
        device_id: &caller.device_id,
    };
    Ok(app
        .rooms
        .relations(&room_id, reader, &event_id, &query)
        .await?
        .into())
}
