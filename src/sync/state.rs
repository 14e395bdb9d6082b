//! The state that goes with a timeline: all of it, or what changed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use event::{Pdu, State};
use ruma::{OwnedUserId, UserId};
use storage::StoredEvent;

use crate::timeline::Timeline;

/// The state at the start of a timeline, from that at its end.
pub(crate) fn at_start(mut state: State, timeline: &Timeline) -> State {
    for moment in timeline.moments.iter().rev() {
        let event = moment.event();
        let Some(state_key) = event.pdu.state_key() else {
            continue;
        };
        let kind = event.pdu.event_type();
        // One that is not current any more was replaced by an event that the timeline leaves out.
        let current = state.get(kind, state_key);
        if current.is_none_or(|current| current.event_id() != event.pdu.event_id()) {
            continue;
        }
        match &event.replaces {
            Some(replaced) => {
                state.insert(replaced.pdu.clone());
            }
            None => {
                state.remove(kind, state_key);
            }
        }
    }
    state
}

/// State events to be told, at most one for each type and state key.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<(String, String), Arc<Pdu>>);

impl Told {
    /// All of a state; of the members only those named, if any are.
    pub(crate) fn whole(state: &State, members: Option<&HashSet<OwnedUserId>>) -> Vec<Arc<Pdu>> {
        let is_told = |pdu: &&Arc<Pdu>| {
            let Some(members) = members else {
                return true;
            };
            pdu.event_type() != "m.room.member"
                || pdu
                    .state_key()
                    .and_then(|key| <&UserId>::try_from(key).ok())
                    .is_some_and(|user_id| members.contains(user_id))
        };
        state.iter().filter(is_told).cloned().collect()
    }

    /// Adds what an event changed: the value of its key in `state`, or else the event itself.
    pub(crate) fn change(&mut self, event: &StoredEvent, state: &State) {
        let Some(state_key) = event.pdu.state_key() else {
            return;
        };
        let kind = event.pdu.event_type();
        let value = state.get(kind, state_key).unwrap_or(&event.pdu).clone();
        self.0
            .insert((kind.to_owned(), state_key.to_owned()), value);
    }

    /// Adds members whom the client needs in order to show what it is told.
    pub(crate) fn members(&mut self, state: &State, members: &HashSet<OwnedUserId>) {
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
