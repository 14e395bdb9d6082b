//! Room history: `/messages`, `/context`, `/event`, `/timestamp_to_event`.

use event::filter::RelationFilter;
use federation::AtTime;
use room::{HistoryFilter, PageRequest};
use ruma::{
    UInt,
    api::client::{
        context::get_context,
        filter::RoomEventFilter,
        message::get_message_events,
        room::{get_event_by_timestamp, get_room_event},
    },
};
use types::{ErrorKind, PageToken};

use super::reader;
use crate::{App, Error, Matrix, Result, json::RawJson};

/// Pages through a room's events.
pub(crate) async fn messages(
    app: App,
    call: Matrix<get_message_events::v3::Request>,
) -> Result<RawJson> {
    let get_message_events::v3::Request {
        room_id,
        from,
        to,
        dir,
        limit,
        filter,
        ..
    } = call.request;
    let request = PageRequest {
        from: from.as_deref().map(str::parse::<PageToken>).transpose()?,
        to: to.as_deref().map(str::parse::<PageToken>).transpose()?,
        direction: dir,
        limit: at_most(limit, &filter),
        filter: HistoryFilter::from(&filter).with_relations(relation_filter(&call.query)?),
    };
    let reader = reader(&call.caller);
    Ok(app.rooms.messages(&room_id, reader, &request).await?.into())
}

/// Returns an event and the events around it.
pub(crate) async fn context(app: App, call: Matrix<get_context::v3::Request>) -> Result<RawJson> {
    let get_context::v3::Request {
        room_id,
        event_id,
        limit,
        filter,
        ..
    } = call.request;
    let limit = at_most(limit, &filter);
    let filter = HistoryFilter::from(&filter);
    let reader = reader(&call.caller);
    Ok(app
        .rooms
        .context(&room_id, reader, &event_id, limit, filter)
        .await?
        .into())
}

/// Returns one event.
pub(crate) async fn event(app: App, call: Matrix<get_room_event::v3::Request>) -> Result<RawJson> {
    let get_room_event::v3::Request {
        room_id, event_id, ..
    } = call.request;
    let reader = reader(&call.caller);
    Ok(app.rooms.event(&room_id, reader, &event_id).await?.into())
}

/// Finds the event next to a time.
pub(crate) async fn event_at_time(
    app: App,
    call: Matrix<get_event_by_timestamp::v1::Request>,
) -> Result<get_event_by_timestamp::v1::Response> {
    let get_event_by_timestamp::v1::Request {
        room_id, ts, dir, ..
    } = call.request;
    let wanted = AtTime { ts, direction: dir };
    let reader = reader(&call.caller);
    let (event_id, ts) = app.rooms.event_at_time(&room_id, reader, wanted).await?;
    Ok(get_event_by_timestamp::v1::Response::new(event_id, ts))
}

/// The part of the filter that its type does not have.
fn relation_filter(query: &str) -> Result<RelationFilter> {
    let parameters: Vec<(String, String)> = serde_html_form::from_str(query).unwrap_or_default();
    let filter = parameters.into_iter().find(|(name, _)| name == "filter");
    let filter = filter.map(|(_, filter)| serde_json::from_str(&filter));
    let filter = filter.transpose().map_err(|_| {
        let text = "`rel_types` and `not_rel_types` must be lists of texts";
        Error::new(ErrorKind::InvalidParam, text)
    });
    Ok(filter?.unwrap_or_default())
}

/// The smaller of the request's limit and its filter's.
fn at_most(limit: UInt, filter: &RoomEventFilter) -> usize {
    let limit = filter.limit.map_or(limit, |filtered| filtered.min(limit));
    usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
}
