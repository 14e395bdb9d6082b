//! Building events: from what the sender chooses to a hashed and signed event.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, events::TimelineEventType, signatures::hash_and_sign_event,
};
use serde_json::value::RawValue;

use crate::{FormatError, Pdu, RoomVersion, Signer};

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
    /// The event that a redaction redacts; put where the room version wants it.
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
    /// One more than the greatest depth of `prev_events`.
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
        let mut event = self.into_object(version, parents)?;
        hash_and_sign_event(
            signer.server_name().as_str(),
            signer.key_pair(),
            &mut event,
            version.redaction(),
        )?;
        Pdu::from_object(event, version)
    }

    fn into_object(
        self,
        version: &RoomVersion,
        parents: Parents,
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
        put("depth", integer("depth", parents.depth)?);
        put("prev_events", ids(&parents.prev_events));
        put("auth_events", ids(&parents.auth_events));
        if let Some(room_id) = self.room_id {
            put("room_id", CanonicalJsonValue::String(room_id.to_string()));
        }
        if let Some(state_key) = self.state_key {
            put("state_key", CanonicalJsonValue::String(state_key));
        }
        Ok(event)
    }
}

fn integer(field: &str, number: u64) -> Result<CanonicalJsonValue, FormatError> {
    ruma::UInt::try_from(number)
        .map(CanonicalJsonValue::from)
        .map_err(|_| FormatError::malformed(format_args!("`{field}` is too large a number")))
}

fn ids(ids: &[OwnedEventId]) -> CanonicalJsonValue {
    let text = |id: &OwnedEventId| CanonicalJsonValue::String(id.to_string());
    CanonicalJsonValue::Array(ids.iter().map(text).collect())
}

#[cfg(test)]
mod tests;
