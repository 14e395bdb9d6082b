//! From text to event.

use std::{borrow::Cow, ops::Range};

use ruma::{
    CanonicalJsonObject, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, RoomId,
    events::{TimelineEventType, room::member::MembershipState},
    signatures::reference_hash,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Pdu;
use crate::{FormatError, RoomVersion, Verdict, format};

/// The fields that are read from an event's text.
#[derive(Deserialize)]
struct Fields<'a> {
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
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
struct MemberContent {
    membership: MembershipState,
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
        Ok(pdu.with_verdict(self.verdict))
    }

    fn assemble(
        event_id: OwnedEventId,
        room_id: impl FnOnce(Option<OwnedRoomId>) -> Result<OwnedRoomId, FormatError>,
        json: Box<str>,
        redacts: Redacts,
    ) -> Result<Self, FormatError> {
        let fields: Fields<'_> = serde_json::from_str(&json).map_err(FormatError::malformed)?;
        let content = span(&json, fields.content.get())?;
        let timeline_event_type = TimelineEventType::from(fields.event_type.as_ref());
        let redacts = match timeline_event_type {
            TimelineEventType::RoomRedaction => redacts.find(&fields),
            _ => None,
        };
        let is_member =
            timeline_event_type == TimelineEventType::RoomMember && fields.state_key.is_some();
        let membership = is_member.then(|| serde_json::from_str(fields.content.get()).ok());
        Ok(Self {
            event_id,
            names_room: fields.room_id.is_some(),
            room_id: room_id(fields.room_id)?,
            sender: fields.sender,
            timeline_event_type,
            event_type: fields.event_type.into(),
            state_key: fields.state_key.map(Into::into),
            origin_server_ts: fields.origin_server_ts,
            depth: fields.depth,
            prev_events: fields.prev_events.into(),
            auth_events: fields.auth_events.into(),
            redacts,
            verdict: Verdict::Accepted,
            membership: (membership.flatten()).map(|content: MemberContent| content.membership),
            content,
            json,
        })
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
