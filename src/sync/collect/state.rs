//! The state events of a response: full state, or changes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use event::{Pdu, State};
use ruma::{OwnedUserId, UserId};
use storage::stream::StateChange;
use types::{EventNid, StateKeyNid};

use super::timeline::Timeline;

/// The last event of a timeline that sets a key to an older value than the room has, because the
/// newer event is hidden from the user or filtered out. `changes` are those since the timeline's
/// first event, the newest first.
///
/// A client applies the timeline after the state: it would end with the old value.
pub(super) fn last_outdated<'c>(
    changes: impl Iterator<Item = &'c StateChange>,
    timeline: &Timeline,
) -> Option<EventNid> {
    let mut is_hidden: HashMap<StateKeyNid, bool> = HashMap::new();
    for change in changes {
        let shown = change.to.as_ref().map(|to| to.nid);
        let shown = shown.filter(|nid| timeline.contains(*nid));
        let is_hidden = *is_hidden.entry(change.key).or_insert(shown.is_none());
        if is_hidden && shown.is_some() {
            return shown;
        }
    }
    None
}

/// The state at the start of a timeline, from that at its end and its changes since, the newest
/// first.
///
/// A change whose event is not in the timeline is not taken back: no client would learn of it.
pub(super) fn at_start<'c>(
    mut state: State,
    changes: impl Iterator<Item = &'c StateChange>,
    timeline: &Timeline,
) -> State {
    for change in changes {
        let Some(to) = change.to.as_ref().filter(|to| timeline.contains(to.nid)) else {
            continue;
        };
        let (event_type, state_key) = (to.pdu.event_type(), to.pdu.state_key().unwrap_or_default());
        let current = state.get(event_type, state_key);
        if current.is_none_or(|current| current.event_id() != to.pdu.event_id()) {
            continue;
        }
        match &change.from {
            Some(from) => {
                state.insert(from.pdu.clone());
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
pub(super) struct StateUpdate(BTreeMap<(String, String), Arc<Pdu>>);

impl StateUpdate {
    /// The full state; if `members` are given, only those member events.
    pub(super) fn full(state: &State, members: Option<&HashSet<OwnedUserId>>) -> Vec<Arc<Pdu>> {
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

    /// Adds a state event.
    pub(super) fn insert(&mut self, pdu: &Arc<Pdu>) {
        if let Some(state_key) = pdu.state_key() {
            let key = (pdu.event_type().to_owned(), state_key.to_owned());
            self.0.insert(key, pdu.clone());
        }
    }

    /// Adds the value in `state` of a key that changed, or else the value that it changed to.
    pub(super) fn insert_change(&mut self, change: &StateChange, state: &State) {
        let Some(event) = change.event() else {
            return;
        };
        let (event_type, state_key) = (event.event_type(), event.state_key().unwrap_or_default());
        let new = change.to.as_ref().map(|to| &to.pdu);
        if let Some(value) = state.get(event_type, state_key).or(new) {
            let key = (event_type.to_owned(), state_key.to_owned());
            self.0.insert(key, value.clone());
        }
    }

    /// Adds the member events that a lazy-loading client needs.
    pub(super) fn insert_members(&mut self, state: &State, members: &HashSet<OwnedUserId>) {
        for user_id in members {
            if let Some(pdu) = state.get("m.room.member", user_id.as_str()) {
                let key = ("m.room.member".to_owned(), user_id.to_string());
                self.0.entry(key).or_insert_with(|| pdu.clone());
            }
        }
    }

    pub(super) fn into_events(self) -> Vec<Arc<Pdu>> {
        self.0.into_values().collect()
    }
}

/// Whether a change is only that a member became known who is not among some.
pub(super) fn is_learned(change: &StateChange, needed: &HashSet<OwnedUserId>) -> bool {
    let Some((None, Some(_))) = change.memberships() else {
        return false;
    };
    let member = change.event().and_then(|pdu| pdu.state_key());
    let member = member.and_then(|key| <&UserId>::try_from(key).ok());
    member.is_none_or(|user_id| !needed.contains(user_id))
}

/// The members that the timeline mentions: the senders of its events, and those whose membership it
/// changes.
pub(super) fn mentioned_members(timeline: &Timeline) -> HashSet<OwnedUserId> {
    let events = timeline.events.iter();
    let mentioned = events.flat_map(|timeline_event| {
        let pdu = timeline_event.pdu();
        let target = pdu
            .state_key()
            .filter(|_| pdu.event_type() == "m.room.member");
        let target = target.and_then(|target| <&UserId>::try_from(target).ok());
        [pdu.sender()].into_iter().chain(target)
    });
    mentioned.map(ToOwned::to_owned).collect()
}

/// The members that a lazy-loading client needs: the senders of the timeline, the heroes, and the
/// reader if the full state is returned.
///
/// Spec: client-server, "Lazy-loading room members".
pub(super) fn required_members(
    timeline: &Timeline,
    heroes: &[&UserId],
    reader: Option<&UserId>,
) -> HashSet<OwnedUserId> {
    let senders = timeline
        .events
        .iter()
        .map(|timeline_event| timeline_event.pdu().sender().to_owned());
    senders
        .chain(heroes.iter().map(|user_id| (*user_id).to_owned()))
        .chain(reader.map(ToOwned::to_owned))
        .collect()
}
