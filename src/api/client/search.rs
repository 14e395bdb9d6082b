//! Searching messages, room names and topics.

use room::{EventSearch, Grouping, SearchContext};
use ruma::{
    UInt,
    api::client::search::search_events::v3::{Criteria, GroupingKey, OrderBy, Request, SearchKeys},
};
use serde::{Deserialize, de::IgnoredAny};
use types::ErrorKind;

use super::reader;
use crate::{App, Error, Matrix, Result, json::RawJson};

/// How many results a page has without a limit in the filter.
const DEFAULT_LIMIT: usize = 10;
/// The longest search term, in bytes.
const MAX_TERM: usize = 4096;
/// The most rooms that a filter may name.
const MAX_ROOMS: usize = 500;

/// Searches the rooms that the caller is or was in.
pub(crate) async fn search(app: App, call: Matrix<Request>) -> Result<RawJson> {
    let Request {
        next_batch,
        search_categories,
        ..
    } = call.request;
    let Some(criteria) = search_categories.room_events else {
        return Ok(RawJson::from(r#"{"search_categories":{}}"#.to_owned()));
    };
    let context = asks_for_context(&call.body).then(|| SearchContext {
        before: number(criteria.event_context.before_limit),
        after: number(criteria.event_context.after_limit),
        include_profile: criteria.event_context.include_profile,
    });
    let wanted = EventSearch {
        context,
        next_batch,
        ..event_search(criteria)?
    };
    let reader = reader(&call.caller);
    Ok(app.rooms.search(reader, &wanted).await?.into())
}

fn event_search(criteria: Criteria) -> Result<EventSearch> {
    if criteria.search_term.len() > MAX_TERM {
        return Err(invalid("`search_term` is too long"));
    }
    let filter = criteria.filter;
    if filter
        .rooms
        .as_ref()
        .is_some_and(|rooms| rooms.len() > MAX_ROOMS)
    {
        return Err(invalid("`filter` names too many rooms"));
    }
    let by_rank = match criteria.order_by {
        None | Some(OrderBy::Rank) => true,
        Some(OrderBy::Recent) => false,
        Some(_) => return Err(invalid("`order_by` must be rank or recent")),
    };
    let mut groupings = Vec::new();
    for group in criteria.groupings.group_by {
        let grouping = match group.key {
            Some(GroupingKey::RoomId) => Grouping::Room,
            Some(GroupingKey::Sender) => Grouping::Sender,
            _ => return Err(invalid("results are grouped by room_id or sender")),
        };
        if !groupings.contains(&grouping) {
            groupings.push(grouping);
        }
    }
    Ok(EventSearch {
        term: criteria.search_term,
        event_types: event_types(criteria.keys)?,
        limit: filter.limit.map_or(DEFAULT_LIMIT, number),
        filter: (&filter).into(),
        rooms: filter.rooms,
        senders: filter.senders,
        by_rank,
        context: None,
        include_state: criteria.include_state.unwrap_or_default(),
        groupings,
        next_batch: None,
    })
}

/// The types of the events that have the keys; of all without any.
fn event_types(keys: Option<Vec<SearchKeys>>) -> Result<Vec<&'static str>> {
    let all = || {
        vec![
            SearchKeys::ContentBody,
            SearchKeys::ContentName,
            SearchKeys::ContentTopic,
        ]
    };
    let keys = keys.filter(|keys| !keys.is_empty()).unwrap_or_else(all);
    let event_types = keys.iter().map(|key| match key {
        SearchKeys::ContentBody => Ok("m.room.message"),
        SearchKeys::ContentName => Ok("m.room.name"),
        SearchKeys::ContentTopic => Ok("m.room.topic"),
        _ => Err(invalid(
            "`keys` may be content.body, content.name, content.topic",
        )),
    });
    event_types.collect()
}

/// Whether the request has an `event_context`: the typed one has a default.
fn asks_for_context(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        search_categories: Categories,
    }
    #[derive(Deserialize)]
    struct Categories {
        room_events: RoomEvents,
    }
    #[derive(Deserialize)]
    struct RoomEvents {
        event_context: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Body>(body)
        .is_ok_and(|body| body.search_categories.room_events.event_context.is_some())
}

fn number(value: UInt) -> usize {
    usize::try_from(u64::from(value)).unwrap_or(usize::MAX)
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidParam, text)
}
