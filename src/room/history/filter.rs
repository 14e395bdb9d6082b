//! Room event filters.
//!
//! Spec: client-server, "Filtering".

use event::Pdu;
use ruma::api::client::filter::{LazyLoadOptions, RoomEventFilter, UrlFilter};
use wildmatch::WildMatch;

/// A room event filter, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    types: Option<Vec<WildMatch>>,
    not_types: Vec<WildMatch>,
    filter: RoomEventFilter,
}

impl EventFilter {
    /// Reads a filter.
    pub fn new(filter: RoomEventFilter) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| WildMatch::new(text)).collect();
        Self {
            types: filter.types.as_deref().map(patterns),
            not_types: patterns(&filter.not_types),
            filter,
        }
    }

    /// How many events at the most, if the filter says so.
    pub fn limit(&self) -> Option<usize> {
        self.filter
            .limit
            .and_then(|limit| u64::from(limit).try_into().ok())
    }

    /// Whether only the members that sent one of the events are returned.
    pub fn lazy_load_members(&self) -> bool {
        matches!(
            self.filter.lazy_load_options,
            LazyLoadOptions::Enabled { .. }
        )
    }

    /// Whether the filter lets an event through.
    pub fn wants(&self, pdu: &Pdu) -> bool {
        let filter = &self.filter;
        let room = pdu.room_id();
        self.types.as_ref().is_none_or(|types| {
            types
                .iter()
                .any(|event_type| event_type.matches(pdu.event_type()))
        }) && !self
            .not_types
            .iter()
            .any(|event_type| event_type.matches(pdu.event_type()))
            && filter
                .senders
                .as_ref()
                .is_none_or(|senders| senders.iter().any(|user| user == pdu.sender()))
            && !filter.not_senders.iter().any(|user| user == pdu.sender())
            && filter
                .rooms
                .as_ref()
                .is_none_or(|rooms| rooms.contains(room))
            && !filter.not_rooms.contains(room)
            && filter
                .url_filter
                .as_ref()
                .is_none_or(|wanted| pdu.has_url() == matches!(wanted, UrlFilter::EventsWithUrl))
    }
}
