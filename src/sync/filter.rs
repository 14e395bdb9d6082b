//! What a client wants to hear of.
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

/// Events of a room's timeline when the client does not say how many.
const DEFAULT_LIMIT: usize = 10;
/// The most, whatever the client says.
const MAX_LIMIT: usize = 500;

/// A filter made ready for use.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) account_data: Rules,
    pub(crate) timeline: Rules,
    pub(crate) state: Rules,
    pub(crate) ephemeral: Rules,
    pub(crate) room_account_data: Rules,
    pub(crate) timeline_limit: usize,
    pub(crate) include_leave: bool,
    pub(crate) lazy_load_members: bool,
    pub(crate) unread_thread_notifications: bool,
    pub(crate) federation_format: bool,
    pub(crate) event_fields: Option<Vec<Vec<String>>>,
    rooms: Rooms,
}

/// Which rooms.
#[derive(Debug, Default)]
struct Rooms {
    only: Option<Vec<OwnedRoomId>>,
    not: Vec<OwnedRoomId>,
}

/// Which events.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rooms: Rooms,
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
            account_data: Rules::plain(&definition.account_data),
            timeline: Rules::room(&room.timeline),
            state: Rules::room(&room.state),
            ephemeral: Rules::room(&room.ephemeral),
            room_account_data: Rules::room(&room.account_data),
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
            rooms: Rooms {
                only: room.rooms.clone(),
                not: room.not_rooms.clone(),
            },
        }
    }

    /// Whether the client wants to hear of a room.
    pub(crate) fn room(&self, room_id: &RoomId) -> bool {
        self.rooms.allow(room_id)
    }
}

impl Rooms {
    fn allow(&self, room_id: &RoomId) -> bool {
        !self.not.iter().any(|not| not == room_id)
            && self
                .only
                .as_ref()
                .is_none_or(|only| only.iter().any(|only| only == room_id))
    }
}

impl Rules {
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
            rooms: Rooms {
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

    /// Whether every event passes, whatever the room.
    pub(crate) fn allows_all_events(&self) -> bool {
        self.types.is_none()
            && self.not_types.is_empty()
            && self.senders.is_none()
            && self.not_senders.is_empty()
            && self.contains_url.is_none()
    }

    pub(crate) fn room_allowed(&self, room_id: &RoomId) -> bool {
        self.rooms.allow(room_id)
    }

    pub(crate) fn kind(&self, kind: &str) -> bool {
        !self.not_types.iter().any(|not| not.matches(kind))
            && self
                .types
                .as_ref()
                .is_none_or(|types| types.iter().any(|only| only.matches(kind)))
    }

    fn sender(&self, sender: &UserId) -> bool {
        !self.not_senders.iter().any(|not| not == sender)
            && self
                .senders
                .as_ref()
                .is_none_or(|only| only.iter().any(|only| only == sender))
    }

    pub(crate) fn event(&self, pdu: &Pdu) -> bool {
        self.kind(pdu.event_type())
            && self.sender(pdu.sender())
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
        let rules = Filter::new(&definition).timeline;
        assert!(rules.kind("m.room.message"));
        assert!(!rules.kind("m.room.topic"));
        assert!(!rules.kind("m.reaction"));
    }
}
