//! Event filters: which events and rooms a client asks for.
//!
//! Spec: client-server, "Filtering".

use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::filter::{Filter, LazyLoadOptions, RoomEventFilter, UrlFilter},
};
use serde::Deserialize;
use wildmatch::WildMatch;

use crate::Pdu;

/// The type of events without content that servers send to merge the branches of a room's graph,
/// where none of their users sends anything. Clients are not told of them.
pub const DUMMY_EVENT_TYPE: &str = "org.matrix.dummy_event";

/// Selects events by type, sender, URL and room; the default selects all.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    rooms: RoomFilter,
    types: Option<Vec<WildMatch>>,
    not_types: Vec<WildMatch>,
    senders: Option<Vec<OwnedUserId>>,
    not_senders: Vec<OwnedUserId>,
    contains_url: Option<bool>,
    relations: RelationFilter,
}

/// Selects events by how they relate to others; the default selects all.
///
/// MSC3874, "Filtering threads from the /messages endpoint".
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RelationFilter {
    /// Only events that relate to another one in one of these ways.
    #[serde(rename = "org.matrix.msc3874.rel_types")]
    only: Option<Vec<String>>,
    /// No events that relate to another one in one of these ways.
    #[serde(rename = "org.matrix.msc3874.not_rel_types", default)]
    not: Vec<String>,
}

impl RelationFilter {
    fn is_empty(&self) -> bool {
        self.only.is_none() && self.not.is_empty()
    }

    fn allows(&self, pdu: &Pdu) -> bool {
        if self.is_empty() {
            return true;
        }
        let relation = pdu.relation();
        let is = |wanted: &String| {
            let relation = relation.as_ref();
            relation.is_some_and(|relation| relation.rel_type == *wanted)
        };
        allows(self.only.as_deref(), &self.not, is)
    }
}

/// Selects rooms; the default selects all.
#[derive(Clone, Debug, Default)]
pub struct RoomFilter {
    only: Option<Vec<OwnedRoomId>>,
    not: Vec<OwnedRoomId>,
}

impl RoomFilter {
    /// The rooms in `only`, or all rooms, without those in `not`.
    pub fn new(only: Option<&[OwnedRoomId]>, not: &[OwnedRoomId]) -> Self {
        Self {
            only: only.map(<[_]>::to_vec),
            not: not.to_vec(),
        }
    }

    /// Whether the filter selects a room.
    pub fn allows_room(&self, room_id: &RoomId) -> bool {
        allows(self.only.as_deref(), &self.not, |other| other == room_id)
    }
}

impl From<&Filter> for EventFilter {
    fn from(filter: &Filter) -> Self {
        Self {
            types: filter.types.as_deref().map(patterns),
            not_types: patterns(&filter.not_types),
            senders: filter.senders.clone(),
            not_senders: filter.not_senders.clone(),
            ..Self::default()
        }
    }
}

impl From<&RoomEventFilter> for EventFilter {
    fn from(filter: &RoomEventFilter) -> Self {
        let url_filter = filter.url_filter.as_ref();
        Self {
            rooms: RoomFilter::new(filter.rooms.as_deref(), &filter.not_rooms),
            types: filter.types.as_deref().map(patterns),
            not_types: patterns(&filter.not_types),
            senders: filter.senders.clone(),
            not_senders: filter.not_senders.clone(),
            contains_url: url_filter.map(|url| matches!(url, UrlFilter::EventsWithUrl)),
            relations: RelationFilter::default(),
        }
    }
}

impl EventFilter {
    /// The same for events that relate to others in some ways only.
    #[must_use]
    pub fn with_relations(mut self, relations: RelationFilter) -> Self {
        self.relations = relations;
        self
    }

    /// Whether the filter selects every event of the rooms that it selects.
    pub fn allows_all_events(&self) -> bool {
        self.types.is_none()
            && self.not_types.is_empty()
            && self.senders.is_none()
            && self.not_senders.is_empty()
            && self.contains_url.is_none()
            && self.relations.is_empty()
    }

    /// Whether the filter selects events of a room.
    pub fn allows_room(&self, room_id: &RoomId) -> bool {
        self.rooms.allows_room(room_id)
    }

    /// Whether the filter does not exclude a room, whichever it names.
    pub fn allows_not_room(&self, room_id: &RoomId) -> bool {
        !self.rooms.not.iter().any(|not| not == room_id)
    }

    /// Whether the filter selects events of a type.
    pub fn allows_type(&self, event_type: &str) -> bool {
        allows(self.types.as_deref(), &self.not_types, |pattern| {
            pattern.matches(event_type)
        })
    }

    /// Whether the filter selects events of a sender.
    pub fn allows_sender(&self, sender: &UserId) -> bool {
        allows(self.senders.as_deref(), &self.not_senders, |other| {
            other == sender
        })
    }

    /// Whether the filter selects an event, its room aside.
    pub fn allows_event(&self, pdu: &Pdu) -> bool {
        pdu.event_type() != DUMMY_EVENT_TYPE
            && self.allows_type(pdu.event_type())
            && self.allows_sender(pdu.sender())
            && self
                .contains_url
                .is_none_or(|wanted| wanted == pdu.has_url())
            && self.relations.allows(pdu)
    }

    /// Whether the filter selects an event.
    pub fn allows(&self, pdu: &Pdu) -> bool {
        self.allows_event(pdu) && self.allows_room(pdu.room_id())
    }
}

/// Whether a filter asks for those members only that sent one of the events returned.
///
/// Spec: client-server, "Lazy-loading room members".
pub fn lazy_loads_members(filter: &RoomEventFilter) -> bool {
    matches!(filter.lazy_load_options, LazyLoadOptions::Enabled { .. })
}

/// Whether a value is among those wanted, if these are limited, and not among those excluded.
fn allows<T>(only: Option<&[T]>, not: &[T], is: impl Fn(&T) -> bool) -> bool {
    !not.iter().any(&is) && only.is_none_or(|only| only.iter().any(&is))
}

fn patterns(types: &[String]) -> Vec<WildMatch> {
    types
        .iter()
        .map(|pattern| WildMatch::new(pattern))
        .collect()
}

#[cfg(test)]
mod tests;
