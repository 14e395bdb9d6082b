//! The form and size that every event must have.
//!
//! Spec: client-server, "Size limits"; rooms, "Event format".

use ruma::signatures::JsonError;
use ruma::{CanonicalJsonObject, CanonicalJsonValue, EventId, RoomId};

use crate::{RoomVersion, event_json::EventJson};

/// The largest event in bytes: canonical JSON of the federation format with signatures.
pub const MAX_EVENT_BYTES: usize = 65_536;
/// The largest `type`, `state_key`, `sender`, `room_id` in bytes; in events of other servers in rooms
/// of old versions in characters ([`RoomVersion::limits_bytes`]).
pub const MAX_FIELD_BYTES: usize = 255;
/// The most parents that an event may name.
pub const MAX_PREV_EVENTS: usize = 20;
/// The most authorising events that an event may name.
pub const MAX_AUTH_EVENTS: usize = 10;
/// Text longer than this cannot shrink to an allowed event, however it is escaped and spaced.
pub(crate) const MAX_TEXT_BYTES: usize = 8 * MAX_EVENT_BYTES;

/// Why a text is not an event.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A limit on size is exceeded.
    #[error("The event is too large: {what} has {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// The event itself or one of its fields.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The text is not JSON, or is nested too deeply.
    #[error("The event is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// The JSON has no canonical form: a float, or an integer beyond ±(2^53 - 1).
    #[error("The event is not canonical JSON: {0}")]
    NotCanonical(String),
    /// A field is missing, or is not what it must be.
    #[error("The event is malformed: {0}")]
    Malformed(String),
}

impl types::Fault for FormatError {
    fn kind(&self) -> types::ErrorKind {
        match self {
            Self::TooLarge { .. } => types::ErrorKind::TooLarge,
            Self::NotJson(_) => types::ErrorKind::NotJson,
            Self::NotCanonical(_) | Self::Malformed(_) => types::ErrorKind::BadJson,
        }
    }
}

impl FormatError {
    pub(crate) fn malformed(reason: impl ToString) -> Self {
        Self::Malformed(reason.to_string())
    }
}

impl From<serde_json::Error> for FormatError {
    fn from(error: serde_json::Error) -> Self {
        // Numbers beyond a double are a syntax error to serde_json, but valid JSON.
        if error.is_data() || error.to_string().starts_with("number out of range") {
            Self::NotCanonical(error.to_string())
        } else {
            Self::NotJson(error)
        }
    }
}

impl From<JsonError> for FormatError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::PduTooLarge => Self::TooLarge {
                what: "event",
                bytes: MAX_EVENT_BYTES + 1,
                limit: MAX_EVENT_BYTES,
            },
            other => Self::malformed(other),
        }
    }
}

/// Parses untrusted text into a canonical JSON object.
///
/// Refuses floats, integers beyond ±(2^53 - 1) and nesting deeper than 127 levels.
pub fn canonical_object(json: &str) -> Result<CanonicalJsonObject, FormatError> {
    limit("text", json.len(), MAX_TEXT_BYTES)?;
    object(json)
}

/// Parses text of any length.
pub(crate) fn object(json: &str) -> Result<CanonicalJsonObject, FormatError> {
    match serde_json::from_str::<CanonicalJsonValue>(json)? {
        CanonicalJsonValue::Object(object) => Ok(object),
        _ => Err(FormatError::malformed("it is not an object")),
    }
}

/// Checks that the fields are there, of the right type, not too large, and can be stored.
pub(crate) fn check(json: &EventJson, version: &RoomVersion) -> Result<(), FormatError> {
    let rules = version.event_format();
    let event = json.object();
    let is_create = required_string(event, "type")? == "m.room.create";
    required_string(event, "sender")?;
    optional_string(event, "state_key")?;
    if version.limits_bytes() {
        check_bytes(event)?;
    }
    if rules.require_room_create_room_id || !is_create {
        required_string(event, "room_id")?;
    } else {
        optional_string(event, "room_id")?;
    }
    match event.get("content") {
        Some(CanonicalJsonValue::Object(_)) => {}
        _ => return Err(FormatError::malformed("`content` is not an object")),
    }
    if rules.require_event_id {
        event_id(event)?;
    }
    natural(json, "depth")?;
    natural(json, "origin_server_ts")?;
    references(event, "prev_events", MAX_PREV_EVENTS, version)?;
    let auth_events = references(event, "auth_events", MAX_AUTH_EVENTS, version)?;
    if !rules.allow_room_create_in_auth_events
        && let Some(CanonicalJsonValue::String(room_id)) = event.get("room_id")
    {
        let create = <&RoomId>::try_from(room_id.as_str())
            .map_err(|error| FormatError::malformed(format_args!("`room_id`: {error}")))?
            .strip_sigil();
        let names_create = |id: &CanonicalJsonValue| {
            id.as_str()
                .and_then(|id| id.strip_prefix('$'))
                .is_some_and(|hash| hash == create)
        };
        if auth_events.iter().any(names_create) {
            return Err(FormatError::malformed(
                "`auth_events` names the create event",
            ));
        }
    }
    Ok(())
}

/// Checks that the fields are not larger in bytes than events of this server may have them.
pub(crate) fn check_bytes(event: &CanonicalJsonObject) -> Result<(), FormatError> {
    for field in ["type", "state_key", "sender", "room_id"] {
        let text = event.get(field).and_then(CanonicalJsonValue::as_str);
        limit(field, text.map_or(0, str::len), MAX_FIELD_BYTES)?;
    }
    Ok(())
}

/// Refuses `bytes` above `limit`.
pub(crate) fn limit(what: &'static str, bytes: usize, limit: usize) -> Result<(), FormatError> {
    if bytes > limit {
        Err(FormatError::TooLarge { what, bytes, limit })
    } else {
        Ok(())
    }
}

fn optional_string<'a>(
    event: &'a CanonicalJsonObject,
    field: &'static str,
) -> Result<Option<&'a str>, FormatError> {
    match event.get(field) {
        None => Ok(None),
        Some(CanonicalJsonValue::String(text)) => {
            if text.chars().nth(MAX_FIELD_BYTES).is_some() {
                limit(field, text.len(), MAX_FIELD_BYTES)?;
            }
            Ok(Some(text))
        }
        Some(_) => Err(FormatError::malformed(format_args!(
            "`{field}` is not a string"
        ))),
    }
}

fn required_string<'a>(
    event: &'a CanonicalJsonObject,
    field: &'static str,
) -> Result<&'a str, FormatError> {
    optional_string(event, field)?
        .ok_or_else(|| FormatError::malformed(format_args!("`{field}` is missing")))
}

/// The id that an event of room versions 1 and 2 carries: `$opaque:domain`.
pub(crate) fn event_id(event: &CanonicalJsonObject) -> Result<&EventId, FormatError> {
    let text = required_string(event, "event_id")?;
    <&EventId>::try_from(text)
        .ok()
        .filter(|id| id.server_name().is_some())
        .ok_or_else(|| FormatError::malformed("`event_id` is not an id with a domain"))
}

fn natural(event: &EventJson, field: &str) -> Result<(), FormatError> {
    event
        .natural(field)
        .map(drop)
        .ok_or_else(|| FormatError::malformed(format_args!("`{field}` is not a natural number")))
}

/// The events that an event names: ids, or in room versions 1 and 2 pairs of an id and hashes.
fn references<'a>(
    event: &'a CanonicalJsonObject,
    field: &str,
    most: usize,
    version: &RoomVersion,
) -> Result<&'a [CanonicalJsonValue], FormatError> {
    let Some(CanonicalJsonValue::Array(references)) = event.get(field) else {
        return Err(FormatError::malformed(format_args!(
            "`{field}` is not an array"
        )));
    };
    if references.len() > most {
        return Err(FormatError::malformed(format_args!(
            "`{field}` has more than {most} entries"
        )));
    }
    let is_reference = |reference: &CanonicalJsonValue| match reference {
        CanonicalJsonValue::String(_) => !version.references_have_hashes(),
        CanonicalJsonValue::Array(pair) => {
            version.references_have_hashes()
                && matches!(
                    pair.as_slice(),
                    [CanonicalJsonValue::String(_), CanonicalJsonValue::Object(_)]
                )
        }
        _ => false,
    };
    if !references.iter().all(is_reference) {
        return Err(FormatError::malformed(format_args!(
            "`{field}` does not name events as the room version does"
        )));
    }
    Ok(references)
}
