//! The state events of a response: full state, or changes.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use event::{Pdu, State};
use ruma::{OwnedUserId, UserId};
use storage::StoredEvent;

use crate::timeline::Timeline;

/// The state at the start of a timeline, computed from that at its end.
pub(crate) fn at_start(mut state: State, timeline: &Timeline) -> State {
    for timeline_event in timeline.events.iter().rev() {
        let event = timeline_event.event();
        let Some(state_key) = event.pdu.state_key() else {
            continue;
        };
        let event_type = event.pdu.event_type();
        // One that is not current any more was replaced by an event that the timeline leaves out.
        let current = state.get(event_type, state_key);
        if current.is_none_or(|current| current.event_id() != event.pdu.event_id()) {
            continue;
        }
        match &event.replaces {
            Some(replaced) => {
                state.insert(replaced.pdu.clone());
            }
            None => {
                state.remove(event_type, state_key);
            }
        }
    }
    state
}

/// State events to return, at most one for each type and state key.
#[derive(Debug, Default)]
pub(crate) struct StateUpdate(BTreeMap<(String, String), Arc<Pdu>>);

impl StateUpdate {
    /// The full state; if `members` are given, only those member events.
    pub(crate) fn full(state: &State, members: Option<&HashSet<OwnedUserId>>) -> Vec<Arc<Pdu>> {
        let is_included = |pdu: &&Arc<Pdu>| {
            let Some(members) = members else {
                return true;
            };
            pdu.event_type() != "m.room.member"
                || pdu
                    .state_key()
                    .and_then(|key| <&UserId>::try_from(key).ok())
                    .is_some_and(|user_id| members.contains(user_id))
        };
        state.iter().filter(is_included).cloned().collect()
    }

    /// Adds the value in `state` of the key that an event changed, or else the event itself.
    pub(crate) fn insert_change(&mut self, event: &StoredEvent, state: &State) {
        let Some(state_key) = event.pdu.state_key() else {
            return;
        };
        let event_type = event.pdu.event_type();
        let value = state
            .get(event_type, state_key)
            .unwrap_or(&event.pdu)
            .clone();
        self.0
            .insert((event_type.to_owned(), state_key.to_owned()), value);
    }

    /// Adds the member events that a lazy-loading client needs.
    pub(crate) fn insert_members(&mut self, state: &State, members: &HashSet<OwnedUserId>) {
        for user_id in members {
            if let Some(pdu) = state.get("m.room.member", user_id.as_str()) {
                let key = ("m.room.member".to_owned(), user_id.to_string());
                self.0.entry(key).or_insert_with(|| pdu.clone());
            }
        }
    }

    pub(crate) fn into_events(self) -> Vec<Arc<Pdu>> {
        self.0.into_values().collect()
    }
}
