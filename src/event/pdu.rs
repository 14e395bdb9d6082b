//! A persisted event: its canonical JSON text, and the parsed fields that rules need.

use std::ops::Range;

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{FormatError, RoomVersion, Verdict, event_json::EventJson};

mod read;
#[cfg(test)]
mod tests;

/// An immutable event, shared as `Arc<Pdu>`.
#[derive(Clone, Debug)]
pub struct Pdu {
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    /// Whether the text contains the room id; the create event of room version 12 does not.
    names_room: bool,
    sender: OwnedUserId,
    timeline_event_type: TimelineEventType,
    event_type: Box<str>,
    state_key: Option<Box<str>>,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    depth: u64,
    prev_events: Box<[OwnedEventId]>,
    auth_events: Box<[OwnedEventId]>,
    redacts: Option<OwnedEventId>,
    verdict: Verdict,
    /// What an `m.room.member` event sets.
    membership: Option<MembershipState>,
    /// The content as the rules read it, where that is not as it is written: power levels that are
    /// floats.
    rules_content: Option<Box<RawValue>>,
    /// The range of the content in `json`.
    content: Range<u32>,
    json: Box<str>,
}

impl Pdu {
    /// The event with what the authorisation rules said of it; a new one counts as accepted.
    #[must_use]
    pub fn with_verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// The event's id.
    pub fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    /// The room it belongs to, also when the text does not say.
    pub fn room_id(&self) -> &OwnedRoomId {
        &self.room_id
    }

    /// Who sent it.
    pub fn sender(&self) -> &UserId {
        &self.sender
    }

    /// Its type as an enumeration, which the authorisation rules and ruma take.
    pub fn timeline_event_type(&self) -> &TimelineEventType {
        &self.timeline_event_type
    }

    /// Its type as the text of `type`.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Its state key; `None` for an event that is not state.
    pub fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    /// Whether it is a state event.
    pub fn is_state(&self) -> bool {
        self.state_key.is_some()
    }

    /// Its content.
    pub fn content(&self) -> &RawValue {
        // Cannot fail: the range was measured on this text.
        serde_json::from_str(self.content_text()).unwrap_or(RawValue::NULL)
    }

    /// The text of its content: a JSON object.
    pub fn content_text(&self) -> &str {
        self.json
            .get(self.content.start as usize..self.content.end as usize)
            .unwrap_or("{}")
    }

    /// Reads the content as a type of the caller's choice.
    pub fn content_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.content_text())
    }

    /// The membership that an `m.room.member` event sets; `None` for others or if malformed.
    pub fn membership(&self) -> Option<MembershipState> {
        self.membership.clone()
    }

    /// Whether its content has a `url`, as files have; filters ask for it.
    pub fn has_url(&self) -> bool {
        #[derive(Deserialize)]
        struct Content {
            url: Option<serde_json::Value>,
        }
        self.content_as::<Content>()
            .is_ok_and(|content| content.url.is_some_and(|url| url.is_string()))
    }

    /// The `origin_server_ts`.
    pub fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }

    /// Its distance from the create event, as its server says.
    pub fn depth(&self) -> u64 {
        self.depth
    }

    /// The events that it follows.
    pub fn prev_events(&self) -> &[OwnedEventId] {
        &self.prev_events
    }

    /// The events that allow it.
    pub fn auth_events(&self) -> &[OwnedEventId] {
        &self.auth_events
    }

    /// The event that this `m.room.redaction` names.
    pub fn redacts(&self) -> Option<&EventId> {
        self.redacts.as_deref()
    }

    /// What the authorisation rules said of it.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The whole event in the federation format: canonical JSON without `unsigned`.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The hash of the event without what a redaction removes, by which events of room versions 1
    /// and 2 name it beside its id.
    pub fn reference_hash(&self, version: &RoomVersion) -> Result<String, FormatError> {
        self.tree()?.reference_hash(version)
    }

    /// The event as a tree, for hashing and signing.
    pub(crate) fn tree(&self) -> Result<EventJson, FormatError> {
        EventJson::parse_any(&self.json)
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        // An identifier of an event is a shared text of 44 bytes with two counters and a pointer.
        const ID: usize = 76;
        size_of::<Self>()
            + self.json.len()
            + self.event_type.len()
            + self
                .rules_content
                .as_ref()
                .map_or(0, |content| content.get().len())
            + self.state_key.as_ref().map_or(0, |key| key.len())
            + self.sender.as_str().len()
            + self.room_id.as_str().len()
            + ID * (1 + self.prev_events.len() + self.auth_events.len())
    }
}

impl ruma::state_res::Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.names_room.then_some(&*self.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.timeline_event_type
    }

    fn content(&self) -> &RawValue {
        self.rules_content.as_deref().unwrap_or(self.content())
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.verdict == Verdict::Rejected
    }
}
