//! The checks of a received event, in the order of the specification.
//!
//! Spec: server-server, "Checks performed on receipt of a PDU". Called when events of other servers
//! are received; the caller fetches between the steps what the next one needs:
//!
//! 1. [`Pdu::parse`]: form and size. Fails: dropped.
//! 2. and 3. [`verify`]: signatures, with the keys of the
//!    [servers that must have signed](crate::required_signatures). Fails: dropped. Where only the
//!    content hash differs, the redacted form goes on.
//! 4. [`check_auth_events`]: the rules by the event's own auth events. Fails: rejected.
//! 5. and 6. [`judge`]: the rules by the state before the event, fails: rejected; and by the current
//!    state, fails: soft-failed.
//! 7. [`PolicyServer::check`](crate::policy::PolicyServer::check), if the room has a policy server.
//!    Fails: soft-failed.

use std::{collections::HashMap, sync::Arc};

use ruma::{EventId, OwnedEventId, events::StateEventType};

use crate::{
    ContentHash, Denied, FormatError, Pdu, RoomVersion, ServerKeys, SignatureError, State, Verdict,
    auth, redact, verify_event,
};

/// Why an event is dropped.
#[derive(Debug, thiserror::Error)]
pub enum Dropped {
    /// A signature is missing or wrong.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The event cannot be redacted.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Why an event does not pass the rules by its auth events.
#[derive(Debug, thiserror::Error)]
pub enum AuthEventsError {
    /// Auth events are not known yet: they have to be fetched first.
    #[error("{} auth events are not known", .0.len())]
    Missing(Vec<OwnedEventId>),
    /// The rules do not allow the event: it is rejected.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// Checks the signatures of an event. Returns it as it is used further: redacted, if its content
/// hash differs.
pub fn verify(event: Pdu, version: &RoomVersion, keys: &ServerKeys) -> Result<Pdu, Dropped> {
    match verify_event(&event, version, keys)? {
        ContentHash::Matches => Ok(event),
        ContentHash::Differs => Ok(redact(version, &event)?),
    }
}

/// Checks an event against the events that it names in `auth_events`.
///
/// `find` answers events of the room with their verdicts, rejected ones too; `create` is the
/// room's create event, which since room version 12 is not named.
pub fn check_auth_events(
    version: &RoomVersion,
    event: &Pdu,
    create: Option<&Arc<Pdu>>,
    find: &dyn Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<(), AuthEventsError> {
    let mut named: HashMap<&EventId, Arc<Pdu>> = HashMap::new();
    let mut missing = Vec::new();
    for id in event.auth_events() {
        match find(id) {
            Some(auth_event) => drop(named.insert(id, auth_event)),
            None => missing.push(id.clone()),
        }
    }
    if !missing.is_empty() {
        return Err(AuthEventsError::Missing(missing));
    }
    let implied = create.filter(|_| version.room_id_is_create_hash());
    let mut state: State = named.values().cloned().collect();
    if let Some(create) = implied {
        state.insert(create.clone());
        named.insert(create.event_id(), create.clone());
    }
    auth::check_state_independent(version, event, &|id| named.get(id).cloned())?;
    let in_state = |event_type: &StateEventType, key: &str| state.event(event_type, key);
    Ok(auth::check_state_dependent(version, event, &in_state)?)
}

/// Checks an event that has passed all earlier checks against the state of the room before it and
/// against the current state; says why if it is not accepted.
///
/// An event whose auth events do not allow it is [`Verdict::Rejected`] without being asked for here.
pub fn judge(
    version: &RoomVersion,
    event: &Pdu,
    before: &State,
    current: &State,
) -> (Verdict, Option<Denied>) {
    let check = |state: &State| {
        auth::check_state_dependent(version, event, &|event_type, key| {
            state.event(event_type, key)
        })
    };
    if let Err(denied) = check(before) {
        return (Verdict::Rejected, Some(denied));
    }
    match check(current) {
        Err(denied) => (Verdict::SoftFailed, Some(denied)),
        Ok(()) => (Verdict::Accepted, None),
    }
}

#[cfg(test)]
mod tests;
