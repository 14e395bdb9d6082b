//! Building events: from what the sender chooses to a hashed and signed event.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, ServerName, UInt, events::TimelineEventType,
};
use serde_json::value::RawValue;

use crate::{FormatError, Pdu, RoomVersion, Signer, event_json::EventJson};

/// What the sender decides about an event.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The room; `None` only for the create event of a room whose id is that event's hash.
    pub room_id: Option<OwnedRoomId>,
    /// The user who sends it.
    pub sender: OwnedUserId,
    /// Its type.
    pub event_type: TimelineEventType,
    /// Its state key, if it is state.
    pub state_key: Option<String>,
    /// Its content: a JSON object.
    pub content: Box<RawValue>,
    /// The event that a redaction redacts; put where the room version has it.
    pub redacts: Option<OwnedEventId>,
    /// When it is sent.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
}

/// Where an event is attached to the room's graph.
#[derive(Clone, Debug, Default)]
pub struct Parents {
    /// The events that it follows: the forward extremities.
    pub prev_events: Vec<OwnedEventId>,
    /// The events that allow it, as [`auth_types`](crate::auth::auth_types) selects them.
    pub auth_events: Vec<OwnedEventId>,
    /// The [reference hashes](Pdu::reference_hash) of all these events. Only room versions 1 and 2
    /// want them.
    pub reference_hashes: HashMap<OwnedEventId, String>,
    /// One more than the greatest depth of `prev_events`; not more than 2^53 - 1 is written.
    pub depth: u64,
}

impl Draft {
    /// Hashes and signs the event, and checks its form and size.
    ///
    /// Floats and integers beyond ±(2^53 - 1) in the content are a
    /// [`FormatError::NotCanonical`].
    pub fn build(
        self,
        version: &RoomVersion,
        parents: Parents,
        signer: &Signer,
    ) -> Result<Pdu, FormatError> {
        let event = self.into_object(version, &parents)?;
        crate::format::check_bytes(&event)?;
        hash_and_sign(event.into(), version, signer)
    }

    /// The fields of the event that its sender or, in templates, its resident server chooses.
    pub(crate) fn into_object(
        self,
        version: &RoomVersion,
        parents: &Parents,
    ) -> Result<CanonicalJsonObject, FormatError> {
        let mut content = crate::format::canonical_object(self.content.get())?;
        let mut event = CanonicalJsonObject::new();
        let mut put = |field: &str, value: CanonicalJsonValue| {
            event.insert(field.to_owned(), value);
        };
        if let Some(redacts) = self.redacts {
            let redacts = CanonicalJsonValue::String(redacts.to_string());
            if version.redacts_in_content() {
                content.insert("redacts".to_owned(), redacts);
            } else {
                put("redacts", redacts);
            }
        }
        put("content", CanonicalJsonValue::Object(content));
        put(
            "type",
            CanonicalJsonValue::String(self.event_type.to_string()),
        );
        put(
            "sender",
            CanonicalJsonValue::String(self.sender.to_string()),
        );
        put("origin_server_ts", self.origin_server_ts.get().into());
        put("depth", UInt::new_saturating(parents.depth).into());
        put(
            "prev_events",
            parents.references(&parents.prev_events, version)?,
        );
        put(
            "auth_events",
            parents.references(&parents.auth_events, version)?,
        );
        if let Some(room_id) = self.room_id {
            put("room_id", CanonicalJsonValue::String(room_id.to_string()));
        }
        if let Some(state_key) = self.state_key {
            put("state_key", CanonicalJsonValue::String(state_key));
        }
        Ok(event)
    }
}

impl Parents {
    /// Events as the room version names them.
    fn references(
        &self,
        ids: &[OwnedEventId],
        version: &RoomVersion,
    ) -> Result<CanonicalJsonValue, FormatError> {
        let text = |text: &str| CanonicalJsonValue::String(text.to_owned());
        let reference = |id: &OwnedEventId| {
            if !version.references_have_hashes() {
                return Ok(text(id.as_str()));
            }
            let hash = self.reference_hashes.get(id).ok_or_else(|| {
                FormatError::malformed(format_args!("the reference hash of {id} is missing"))
            })?;
            let hashes = CanonicalJsonObject::from([("sha256".to_owned(), text(hash))]);
            Ok(CanonicalJsonValue::Array(vec![
                text(id.as_str()),
                CanonicalJsonValue::Object(hashes),
            ]))
        };
        let references: Result<_, FormatError> = ids.iter().map(reference).collect();
        Ok(CanonicalJsonValue::Array(references?))
    }
}

/// Completes an event: its id in room versions 1 and 2, its content hash, its server's signature.
pub(crate) fn hash_and_sign(
    mut event: EventJson,
    version: &RoomVersion,
    signer: &Signer,
) -> Result<Pdu, FormatError> {
    if version.event_contains_id() {
        let id = event_id(&event, signer.server_name())?;
        let object = event.object_mut();
        object.insert("event_id".to_owned(), CanonicalJsonValue::String(id));
    }
    let hash = CanonicalJsonValue::String(event.content_hash()?);
    let hashes = CanonicalJsonObject::from([("sha256".to_owned(), hash)]);
    event
        .object_mut()
        .insert("hashes".to_owned(), CanonicalJsonValue::Object(hashes));
    event.sign(version, signer)?;
    Pdu::from_json(event, version)
}

/// An id for an event of room versions 1 and 2. Two events differ at least in what they follow, so
/// that a hash of the event is as good as a random text.
fn event_id(event: &EventJson, server_name: &ServerName) -> Result<String, FormatError> {
    let opaque = URL_SAFE_NO_PAD.encode(digest(&SHA256, event.text()?.as_bytes()));
    Ok(format!("${opaque}:{server_name}"))
}

#[cfg(test)]
mod tests;
