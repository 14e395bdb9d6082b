//! Who may send what: the authorisation rules.
//!
//! Spec: rooms, "Authorisation rules"; server-server, "Auth events selection".

use std::sync::Arc;

use ruma::{
    EventId, UserId,
    events::{StateEventType, TimelineEventType},
    state_res::{
        auth_types_for_event, check_state_dependent_auth_rules, check_state_independent_auth_rules,
    },
};
use serde_json::value::RawValue;

use crate::{Pdu, RoomVersion, State};

/// The rules do not allow the event; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

impl types::Fault for Denied {
    fn kind(&self) -> types::ErrorKind {
        types::ErrorKind::Forbidden
    }
}

/// Which state an event must name in `auth_events`, where the room has it.
pub fn auth_types(
    version: &RoomVersion,
    event_type: &TimelineEventType,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
) -> Result<Vec<(StateEventType, String)>, Denied> {
    auth_types_for_event(
        event_type,
        sender,
        state_key,
        content,
        version.authorization(),
    )
    .map_err(Denied)
}

/// Selects an event's `auth_events` from the room's state.
pub fn select_auth_events(
    version: &RoomVersion,
    state: &State,
    event_type: &TimelineEventType,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
) -> Result<Vec<Arc<Pdu>>, Denied> {
    let places = auth_types(version, event_type, sender, state_key, content)?;
    Ok(places
        .iter()
        .filter_map(|(event_type, key)| state.event(event_type, key))
        .collect())
}

/// Checks an event by itself and against a state.
///
/// `state` answers the room's state before the event, `auth_event` any event by its id: at least
/// those that the event names. The create event may come from either.
pub fn check(
    version: &RoomVersion,
    event: &Pdu,
    state: &dyn Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
    auth_event: &dyn Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<(), Denied> {
    let known = |id: &EventId| {
        auth_event(id).or_else(|| {
            // Since room version 12 the create event is implied, not named.
            state(&StateEventType::RoomCreate, "").filter(|create| *create.event_id() == *id)
        })
    };
    check_state_independent(version, event, &known)?;
    check_state_dependent(version, event, state)
}

/// Checks a new local event against the state that its `auth_events` were selected from.
pub fn check_local(version: &RoomVersion, event: &Pdu, state: &State) -> Result<(), Denied> {
    let places = auth_types(
        version,
        event.timeline_event_type(),
        event.sender(),
        event.state_key(),
        event.content(),
    )?;
    let auth_event = |id: &EventId| {
        places
            .iter()
            .filter_map(|(event_type, key)| state.event(event_type, key))
            .find(|pdu| *pdu.event_id() == *id)
    };
    check(
        version,
        event,
        &|event_type, key| state.event(event_type, key),
        &auth_event,
    )
}

/// Checks what does not depend on the room's state: the event and the events that it names.
///
/// Spec: an event that fails is rejected.
pub fn check_state_independent(
    version: &RoomVersion,
    event: &Pdu,
    auth_event: &dyn Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<(), Denied> {
    check_state_independent_auth_rules(version.authorization(), event, auth_event).map_err(Denied)
}

/// Checks an event against a state of the room.
///
/// Spec: a received event is checked against the state of its `auth_events` and the state before
/// it (fails: rejected), and against the current state (fails: soft-failed).
pub fn check_state_dependent(
    version: &RoomVersion,
    event: &Pdu,
    state: &dyn Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
) -> Result<(), Denied> {
    check_state_dependent_auth_rules(version.authorization(), event, state).map_err(Denied)
}

#[cfg(test)]
mod tests;
