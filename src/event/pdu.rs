//! An event as it is kept: its canonical JSON text, and beside it what rules ask for.

use std::{borrow::Cow, ops::Range};

use ruma::{
    CanonicalJsonObject, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    signatures::reference_hash,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{FormatError, RoomVersion, format};

/// An immutable event, shared as `Arc<Pdu>`.
#[derive(Clone, Debug)]
pub struct Pdu {
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    /// Whether the text itself says the room id; the create event of room version 12 does not.
    names_room: bool,
    sender: OwnedUserId,
    event_type: TimelineEventType,
    kind: Box<str>,
    state_key: Option<Box<str>>,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    depth: u64,
    prev_events: Box<[OwnedEventId]>,
    auth_events: Box<[OwnedEventId]>,
    redacts: Option<OwnedEventId>,
    rejected: bool,
    /// Where the content stands in `json`.
    content: Range<u32>,
    json: Box<str>,
}

/// The fields that are read from an event's text.
#[derive(Deserialize)]
struct Fields<'a> {
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    state_key: Option<Cow<'a, str>>,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    depth: u64,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    #[serde(borrow)]
    redacts: Option<&'a RawValue>,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct RedactionContent {
    redacts: Option<OwnedEventId>,
}

/// Where `redacts` is looked for.
#[derive(Clone, Copy)]
enum Redacts {
    Top,
    Content,
    Either,
}

impl Pdu {
    /// Parses an event from outside, in the federation format, and works out its id.
    ///
    /// The text is brought into canonical form; `unsigned` is dropped, because nobody vouches
    /// for it. Hashes and signatures are not verified here.
    pub fn parse(json: &str, version: &RoomVersion) -> Result<Self, FormatError> {
        Self::from_object(format::canonical_object(json)?, version)
    }

    /// Reads an event from the database: its text is trusted to be canonical and well formed.
    ///
    /// `redacts` is taken from the top level or else from the content;
    /// [`redaction_target`](crate::redact::redaction_target) is exact.
    pub fn from_stored(
        event_id: OwnedEventId,
        room_id: OwnedRoomId,
        json: Box<str>,
    ) -> Result<Self, FormatError> {
        Self::assemble(event_id, |_| Ok(room_id), json, Redacts::Either)
    }

    pub(crate) fn from_object(
        mut object: CanonicalJsonObject,
        version: &RoomVersion,
    ) -> Result<Self, FormatError> {
        format::check(&object, version)?;
        let mut json = text(&object)?;
        // The limit counts `unsigned` too: it is part of what other servers would be sent.
        format::limit("event", json.len(), format::MAX_EVENT_BYTES)?;
        if object.remove("unsigned").is_some() {
            json = text(&object)?;
        }
        let hash = reference_hash(&object, version.rules())?;
        let event_id = EventId::new_v2_or_v3(&hash).map_err(FormatError::malformed)?;
        let redacts = if version.redacts_in_content() {
            Redacts::Content
        } else {
            Redacts::Top
        };
        let room_id = |named: Option<OwnedRoomId>| match named {
            Some(room_id) => Ok(room_id),
            None if version.room_id_is_create_hash() => {
                RoomId::parse(format!("!{hash}")).map_err(FormatError::malformed)
            }
            None => Err(FormatError::malformed("`room_id` is missing")),
        };
        Self::assemble(event_id, room_id, json.into_boxed_str(), redacts)
    }

    /// This event with another text, such as its redacted form.
    pub(crate) fn with_text(&self, json: Box<str>) -> Result<Self, FormatError> {
        let room_id = self.room_id.clone();
        let pdu = Self::assemble(
            self.event_id.clone(),
            |_| Ok(room_id),
            json,
            Redacts::Either,
        )?;
        Ok(pdu.with_rejected(self.rejected))
    }

    fn assemble(
        event_id: OwnedEventId,
        room_id: impl FnOnce(Option<OwnedRoomId>) -> Result<OwnedRoomId, FormatError>,
        json: Box<str>,
        redacts: Redacts,
    ) -> Result<Self, FormatError> {
        let fields: Fields<'_> = serde_json::from_str(&json).map_err(FormatError::malformed)?;
        let content = span(&json, fields.content.get())?;
        let event_type = TimelineEventType::from(fields.kind.as_ref());
        let redacts = match event_type {
            TimelineEventType::RoomRedaction => redacts.find(&fields),
            _ => None,
        };
        Ok(Self {
            event_id,
            names_room: fields.room_id.is_some(),
            room_id: room_id(fields.room_id)?,
            sender: fields.sender,
            event_type,
            kind: fields.kind.into(),
            state_key: fields.state_key.map(Into::into),
            origin_server_ts: fields.origin_server_ts,
            depth: fields.depth,
            prev_events: fields.prev_events.into(),
            auth_events: fields.auth_events.into(),
            redacts,
            rejected: false,
            content,
            json,
        })
    }

    /// Marks the event as rejected by the authorisation rules, or not.
    #[must_use]
    pub fn with_rejected(mut self, rejected: bool) -> Self {
        self.rejected = rejected;
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

    /// Its type.
    pub fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }

    /// Its type as text.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its state key; `None` for an event that is not state.
    pub fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    /// Whether it is a state event.
    pub fn is_state(&self) -> bool {
        self.state_key.is_some()
    }

    /// Whether it is state of this type and state key.
    pub fn is_state_of(&self, kind: &StateEventType, state_key: &str) -> bool {
        self.state_key() == Some(state_key) && *self.kind == *crate::state::type_text(kind)
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
        #[derive(Deserialize)]
        struct Content {
            membership: MembershipState,
        }
        if self.event_type != TimelineEventType::RoomMember || !self.is_state() {
            return None;
        }
        self.content_as::<Content>()
            .ok()
            .map(|content| content.membership)
    }

    /// When its server says that it was sent.
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

    /// The event that this `m.room.redaction` wants to redact.
    pub fn redacts(&self) -> Option<&EventId> {
        self.redacts.as_deref()
    }

    /// Whether it was rejected by the authorisation rules.
    pub fn rejected(&self) -> bool {
        self.rejected
    }

    /// The whole event in the federation format: canonical JSON without `unsigned`.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The event as a tree, for hashing and signing.
    pub fn object(&self) -> Result<CanonicalJsonObject, FormatError> {
        format::canonical_object(&self.json)
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        // An identifier of an event is a shared text of 44 bytes with two counters and a pointer.
        const ID: usize = 76;
        size_of::<Self>()
            + self.json.len()
            + self.kind.len()
            + self.state_key.as_ref().map_or(0, |key| key.len())
            + self.sender.as_str().len()
            + self.room_id.as_str().len()
            + ID * (1 + self.prev_events.len() + self.auth_events.len())
    }
}

impl Redacts {
    fn find(self, fields: &Fields<'_>) -> Option<OwnedEventId> {
        let top = || serde_json::from_str(fields.redacts?.get()).ok();
        let content = || {
            serde_json::from_str::<RedactionContent>(fields.content.get())
                .ok()?
                .redacts
        };
        match self {
            Self::Top => top(),
            Self::Content => content(),
            Self::Either => top().or_else(content),
        }
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
        &self.event_type
    }

    fn content(&self) -> &RawValue {
        self.content()
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
        self.rejected
    }
}

/// The canonical text of an object.
pub(crate) fn text(object: &CanonicalJsonObject) -> Result<String, FormatError> {
    serde_json::to_string(object).map_err(FormatError::malformed)
}

/// Where `part`, a slice of `whole`, stands in it.
fn span(whole: &str, part: &str) -> Result<Range<u32>, FormatError> {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    let end = start.saturating_add(part.len());
    let narrow = |n: usize| u32::try_from(n).map_err(FormatError::malformed);
    Ok(narrow(start)?..narrow(end)?)
}
