//! Filters.
//!
//! Spec: client-server, "Filtering".

use event::Pdu;
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::filter::{
        EventFormat, Filter as PlainFilter, FilterDefinition, LazyLoadOptions, RoomEventFilter,
        UrlFilter,
    },
};
use wildmatch::WildMatch;

/// The timeline limit if the filter has none.
const DEFAULT_LIMIT: usize = 10;
/// The maximum timeline limit.
const MAX_LIMIT: usize = 500;

/// A compiled filter.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) account_data: EventFilter,
    pub(crate) timeline: EventFilter,
    pub(crate) state: EventFilter,
    pub(crate) ephemeral: EventFilter,
    pub(crate) room_account_data: EventFilter,
    pub(crate) timeline_limit: usize,
    pub(crate) include_leave: bool,
    pub(crate) lazy_load_members: bool,
    pub(crate) unread_thread_notifications: bool,
    pub(crate) federation_format: bool,
    pub(crate) event_fields: Option<Vec<Vec<String>>>,
    rooms: RoomFilter,
}

/// Selects rooms.
#[derive(Debug, Default)]
struct RoomFilter {
    only: Option<Vec<OwnedRoomId>>,
    not: Vec<OwnedRoomId>,
}

/// Selects events.
#[derive(Debug, Default)]
pub(crate) struct EventFilter {
    rooms: RoomFilter,
    types: Option<Vec<WildMatch>>,
    not_types: Vec<WildMatch>,
    senders: Option<Vec<OwnedUserId>>,
    not_senders: Vec<OwnedUserId>,
    contains_url: Option<bool>,
}

impl Filter {
    pub(crate) fn new(definition: &FilterDefinition) -> Self {
        let room = &definition.room;
        let limit = room.timeline.limit.map_or(DEFAULT_LIMIT as u64, u64::from);
        Self {
            account_data: EventFilter::plain(&definition.account_data),
            timeline: EventFilter::room(&room.timeline),
            state: EventFilter::room(&room.state),
            ephemeral: EventFilter::room(&room.ephemeral),
            room_account_data: EventFilter::room(&room.account_data),
            timeline_limit: usize::try_from(limit).map_or(MAX_LIMIT, |limit| limit.min(MAX_LIMIT)),
            include_leave: room.include_leave,
            lazy_load_members: matches!(
                room.state.lazy_load_options,
                LazyLoadOptions::Enabled { .. }
            ) || matches!(
                room.timeline.lazy_load_options,
                LazyLoadOptions::Enabled { .. }
            ),
            unread_thread_notifications: room.timeline.unread_thread_notifications,
            federation_format: definition.event_format == EventFormat::Federation,
            event_fields: definition
                .event_fields
                .as_ref()
                .map(|fields| fields.iter().map(|field| path(field)).collect()),
            rooms: RoomFilter {
                only: room.rooms.clone(),
                not: room.not_rooms.clone(),
            },
        }
    }

    /// Whether the filter selects a room.
    pub(crate) fn allows_room(&self, room_id: &RoomId) -> bool {
        self.rooms.contains(room_id)
    }
}

impl RoomFilter {
    fn contains(&self, room_id: &RoomId) -> bool {
        !self.not.iter().any(|not| not == room_id)
            && self
                .only
                .as_ref()
                .is_none_or(|only| only.iter().any(|only| only == room_id))
    }
}

impl EventFilter {
    fn plain(filter: &PlainFilter) -> Self {
        Self {
            types: filter.types.as_deref().map(patterns),
            not_types: patterns(&filter.not_types),
            senders: filter.senders.clone(),
            not_senders: filter.not_senders.clone(),
            ..Self::default()
        }
    }

    fn room(filter: &RoomEventFilter) -> Self {
        Self {
            rooms: RoomFilter {
                only: filter.rooms.clone(),
                not: filter.not_rooms.clone(),
            },
            types: filter.types.as_deref().map(patterns),
            not_types: patterns(&filter.not_types),
            senders: filter.senders.clone(),
            not_senders: filter.not_senders.clone(),
            contains_url: filter
                .url_filter
                .as_ref()
                .map(|url| matches!(url, UrlFilter::EventsWithUrl)),
        }
    }

    /// Whether every event passes, apart from the room filter.
    pub(crate) fn allows_all_events(&self) -> bool {
        self.types.is_none()
            && self.not_types.is_empty()
            && self.senders.is_none()
            && self.not_senders.is_empty()
            && self.contains_url.is_none()
    }

    pub(crate) fn allows_room(&self, room_id: &RoomId) -> bool {
        self.rooms.contains(room_id)
    }

    pub(crate) fn allows_type(&self, event_type: &str) -> bool {
        !self.not_types.iter().any(|not| not.matches(event_type))
            && self
                .types
                .as_ref()
                .is_none_or(|types| types.iter().any(|only| only.matches(event_type)))
    }

    fn allows_sender(&self, sender: &UserId) -> bool {
        !self.not_senders.iter().any(|not| not == sender)
            && self
                .senders
                .as_ref()
                .is_none_or(|only| only.iter().any(|only| only == sender))
    }

    pub(crate) fn allows_event(&self, pdu: &Pdu) -> bool {
        self.allows_type(pdu.event_type())
            && self.allows_sender(pdu.sender())
            && self
                .contains_url
                .is_none_or(|wanted| wanted == pdu.has_url())
    }
}

fn patterns(types: &[String]) -> Vec<WildMatch> {
    types
        .iter()
        .map(|pattern| WildMatch::new(pattern))
        .collect()
}

/// Splits a dot-separated path; a backslash takes the meaning from a dot or a backslash.
///
/// Spec: appendices, "Dot-separated property paths".
fn path(field: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = field.chars().peekable();
    while let Some(character) = characters.next() {
        let literal = match character {
            '.' => {
                parts.push(String::new());
                continue;
            }
            '\\' => characters
                .next_if(|next| matches!(next, '.' | '\\'))
                .unwrap_or('\\'),
            other => other,
        };
        if let Some(part) = parts.last_mut() {
            part.push(literal);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_dots_that_are_not_escaped() {
        assert_eq!(path("content.body"), ["content", "body"]);
        assert_eq!(
            path(r"content.m\.relates_to.a\\b"),
            ["content", "m.relates_to", r"a\b"]
        );
    }

    #[test]
    fn excluded_types_win_and_stars_match_any_text() {
        let definition: FilterDefinition = serde_json::from_value(serde_json::json!({
            "room": { "timeline": { "types": ["m.room.*"], "not_types": ["m.room.topic"] } }
        }))
        .unwrap();
        let event_filter = Filter::new(&definition).timeline;
        assert!(event_filter.allows_type("m.room.message"));
        assert!(!event_filter.allows_type("m.room.topic"));
        assert!(!event_filter.allows_type("m.reaction"));
    }
}
