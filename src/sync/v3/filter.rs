//! Filters.
//!
//! Spec: client-server, "Filtering".

use event::{
    EventFilter,
    filter::{RoomFilter, lazy_loads_members},
};
use ruma::{
    RoomId,
    api::client::filter::{EventFormat, FilterDefinition},
};

/// The timeline limit if the filter has none.
const DEFAULT_LIMIT: usize = 10;
/// The maximum timeline limit.
const MAX_LIMIT: usize = 500;

/// The type of the events that tell of presence.
pub(crate) const PRESENCE: &str = "m.presence";

/// A compiled filter.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) account_data: EventFilter,
    pub(crate) presence: EventFilter,
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

impl Filter {
    pub(crate) fn new(definition: &FilterDefinition) -> Self {
        let room = &definition.room;
        let limit = room.timeline.limit.map_or(DEFAULT_LIMIT as u64, u64::from);
        Self {
            account_data: EventFilter::from(&definition.account_data),
            presence: EventFilter::from(&definition.presence),
            timeline: EventFilter::from(&room.timeline),
            state: EventFilter::from(&room.state),
            ephemeral: EventFilter::from(&room.ephemeral),
            room_account_data: EventFilter::from(&room.account_data),
            timeline_limit: usize::try_from(limit).map_or(MAX_LIMIT, |limit| limit.min(MAX_LIMIT)),
            include_leave: room.include_leave,
            lazy_load_members: lazy_loads_members(&room.state)
                || lazy_loads_members(&room.timeline),
            unread_thread_notifications: room.timeline.unread_thread_notifications,
            federation_format: definition.event_format == EventFormat::Federation,
            event_fields: definition
                .event_fields
                .as_ref()
                .map(|fields| fields.iter().map(|field| path(field)).collect()),
            rooms: RoomFilter::new(room.rooms.as_deref(), &room.not_rooms),
        }
    }

    /// Which presence the filter selects; none if it selects that of nobody.
    pub(crate) fn presence(&self) -> Option<&EventFilter> {
        Some(&self.presence).filter(|filter| filter.allows_type(PRESENCE))
    }

    /// Whether the filter selects a room.
    pub(crate) fn allows_room(&self, room_id: &RoomId) -> bool {
        self.rooms.allows_room(room_id)
    }
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
}
