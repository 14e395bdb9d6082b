//! Redaction: what is left of an event when its content is withdrawn.
//!
//! Spec: client-server, "Redactions"; rooms, "Redactions" and "Handling redactions".

use ruma::{CanonicalJsonValue, OwnedEventId, canonical_json, events::TimelineEventType};

use crate::{FormatError, Pdu, PowerLevels, RoomVersion, pdu};

/// The event with everything removed that the room version does not keep; its id stays the same.
pub fn redact(version: &RoomVersion, event: &Pdu) -> Result<Pdu, FormatError> {
    let mut object = event.object()?;
    canonical_json::redact_in_place(&mut object, version.redaction(), None)
        .map_err(FormatError::malformed)?;
    event.with_text(pdu::text(&object)?.into_boxed_str())
}

/// The event that an `m.room.redaction` redacts, read from where the room version puts it.
pub fn redaction_target(version: &RoomVersion, event: &Pdu) -> Option<OwnedEventId> {
    if *event.timeline_event_type() != TimelineEventType::RoomRedaction {
        return None;
    }
    let object = event.object().ok()?;
    let target = if version.redacts_in_content() {
        object.get("content")?.as_object()?.get("redacts")
    } else {
        object.get("redacts")
    };
    target.and_then(CanonicalJsonValue::as_str)?.try_into().ok()
}

/// Whether a redaction takes effect on its target once both are known.
///
/// Spec: rooms v3, "Handling redactions": the sender has the redact level, or is of the same
/// server as the sender of the target. `levels` are those before the redaction.
pub fn applies(levels: &PowerLevels, redaction: &Pdu, target: &Pdu) -> bool {
    redaction.redacts() == Some(&**target.event_id())
        && redaction.room_id() == target.room_id()
        && (redaction.sender().server_name() == target.sender().server_name()
            || levels.can_redact_others(redaction.sender()))
}

#[cfg(test)]
mod tests;
