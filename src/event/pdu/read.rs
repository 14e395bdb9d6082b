//! From text to event.

use std::{borrow::Cow, ops::Range};

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::Pdu;
use crate::{
    FormatError, RoomVersion, Verdict,
    event_json::{EventJson, truncate_numbers},
    format,
};

/// The greatest `depth`: room versions before 6 allow what a 64 bit integer can hold.
const MAX_DEPTH: u64 = i64::MAX as u64;

/// The fields that are read from an event's text.
#[derive(Deserialize)]
struct Fields<'a> {
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    state_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    origin_server_ts: &'a RawValue,
    #[serde(borrow)]
    depth: &'a RawValue,
    prev_events: Vec<Reference>,
    auth_events: Vec<Reference>,
    #[serde(borrow)]
    redacts: Option<&'a RawValue>,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// How an event names another one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(OwnedEventId),
    /// In room versions 1 and 2, with its hashes.
    IdAndHashes(OwnedEventId, IgnoredAny),
}

impl From<Reference> for OwnedEventId {
    fn from(reference: Reference) -> Self {
        match reference {
            Reference::Id(id) | Reference::IdAndHashes(id, _) => id,
        }
    }
}

#[derive(Deserialize)]
struct MemberContent {
    membership: MembershipState,
}

#[derive(Deserialize)]
struct RedactionContent {
    redacts: Option<OwnedEventId>,
}

/// Where `redacts` is expected.
#[derive(Clone, Copy)]
enum Redacts {
    Top,
    Content,
    Either,
}

impl Pdu {
    /// Parses an event from outside, in the federation format, and works out its id.
    ///
    /// The text is brought into canonical form; `unsigned` is dropped, because it is not
    /// signed. Hashes and signatures are not verified here.
    pub fn parse(json: &str, version: &RoomVersion) -> Result<Self, FormatError> {
        Self::from_json(EventJson::parse(json, version)?, version)
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

    pub(crate) fn from_json(
        mut event: EventJson,
        version: &RoomVersion,
    ) -> Result<Self, FormatError> {
        format::check(&event, version)?;
        let mut json = event.text()?;
        // The limit counts `unsigned` too: it is part of what other servers would be sent.
        format::limit("event", json.len(), format::MAX_EVENT_BYTES)?;
        if event.object_mut().remove("unsigned").is_some() {
            json = event.text()?;
        }
        let hash = event.reference_hash(version)?;
        let event_id = if version.event_contains_id() {
            format::event_id(event.object())?.to_owned()
        } else {
            EventId::new_v2_or_v3(&hash).map_err(FormatError::malformed)?
        };
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
        let rules_content = match timeline_event_type {
            TimelineEventType::RoomPowerLevels => truncate_numbers(fields.content.get()),
            _ => None,
        };
        let rules_content = rules_content.map(RawValue::from_string).transpose()?;
        Ok(Self {
            event_id,
            rules_content,
            names_room: fields.room_id.is_some(),
            room_id: room_id(fields.room_id)?,
            sender: fields.sender,
            timeline_event_type,
            event_type: fields.event_type.into(),
            state_key: fields.state_key.map(Into::into),
            origin_server_ts: timestamp(fields.origin_server_ts)?,
            depth: natural(fields.depth)?.min(MAX_DEPTH),
            prev_events: fields.prev_events.into_iter().map(Into::into).collect(),
            auth_events: fields.auth_events.into_iter().map(Into::into).collect(),
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

/// A natural number; one that is too large counts as the greatest.
fn natural(text: &RawValue) -> Result<u64, FormatError> {
    let digits = text.get();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FormatError::malformed("a number is not natural"));
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn timestamp(text: &RawValue) -> Result<MilliSecondsSinceUnixEpoch, FormatError> {
    Ok(MilliSecondsSinceUnixEpoch(UInt::new_saturating(natural(
        text,
    )?)))
}

/// Where `part`, a slice of `whole`, stands in it.
fn span(whole: &str, part: &str) -> Result<Range<u32>, FormatError> {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    let end = start.saturating_add(part.len());
    let narrow = |n: usize| u32::try_from(n).map_err(FormatError::malformed);
    Ok(narrow(start)?..narrow(end)?)
}
