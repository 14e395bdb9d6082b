//! Redaction: what is left of an event when its content is withdrawn.
//!
//! Spec: client-server, "Redactions"; rooms, "Redactions" and "Handling redactions".

use ruma::{CanonicalJsonValue, OwnedEventId, events::TimelineEventType};

use crate::{FormatError, Pdu, PowerLevels, RoomVersion};

/// The event with everything removed that the room version does not keep; its id stays the same.
pub fn redact(version: &RoomVersion, event: &Pdu) -> Result<Pdu, FormatError> {
    let mut tree = event.tree()?;
    tree.redact(version.redaction())?;
    event.with_text(tree.text()?.into_boxed_str())
}

/// The event that an `m.room.redaction` redacts, read from where the room version puts it.
pub fn redaction_target(version: &RoomVersion, event: &Pdu) -> Option<OwnedEventId> {
    if *event.timeline_event_type() != TimelineEventType::RoomRedaction {
        return None;
    }
    let tree = event.tree().ok()?;
    let object = tree.object();
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
/// server as the sender of the target. `levels` are those before the redaction. In room versions 1
/// and 2 this is for the authorisation rules to say, which `redaction` must have passed.
pub fn applies(version: &RoomVersion, levels: &PowerLevels, redaction: &Pdu, target: &Pdu) -> bool {
    redaction.redacts() == Some(&**target.event_id())
        && redaction.room_id() == target.room_id()
        && (version.redactions_need_authorization()
            || redaction.sender().server_name() == target.sender().server_name()
            || levels.can_redact_others(redaction.sender()))
}

#[cfg(test)]
mod tests;
