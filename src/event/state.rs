//! The state of a room at one point of its graph.

use std::{borrow::Cow, cmp::Ordering, ops::Bound, sync::Arc};

use equivalent::{Comparable, Equivalent};
use imbl::{OrdMap, ordmap::DiffItem};
use ruma::{
    UserId,
    events::{StateEventType, room::member::MembershipState},
};

use crate::Pdu;

/// A complete room state: at most one event for each type and state key.
///
/// A clone costs nothing and shares its structure: two states that differ a little take little
/// more memory than one. Events come in the order of type and state key.
#[derive(Clone, Debug, Default)]
pub struct State(OrdMap<StateMapKey, StateMapValue>);

/// An event as a key: ordered by its type and state key, so that the map needs no texts of its own.
#[derive(Clone, Debug)]
struct StateMapKey(Arc<Pdu>);

/// The same event as a value: equal by its id, so that a comparison of two maps finds changes.
#[derive(Clone, Debug)]
struct StateMapValue(Arc<Pdu>);

/// The type and state key of a state event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey<'a> {
    /// The event type.
    pub event_type: &'a str,
    /// The state key.
    pub key: &'a str,
}

impl State {
    /// The state before the create event.
    pub fn new() -> Self {
        Self::default()
    }

    /// The event of a type and state key.
    pub fn get(&self, event_type: &str, key: &str) -> Option<&Arc<Pdu>> {
        self.0
            .get(&StateKey { event_type, key })
            .map(|value| &value.0)
    }

    /// The event of a type and state key, in the shape that the authorisation rules ask for it.
    pub fn event(&self, event_type: &StateEventType, key: &str) -> Option<Arc<Pdu>> {
        self.get(&type_text(event_type), key).cloned()
    }

    /// Inserts a state event and returns the one that it replaces.
    ///
    /// An event without a state key changes nothing.
    pub fn insert(&mut self, pdu: Arc<Pdu>) -> Option<Arc<Pdu>> {
        pdu.state_key()?;
        self.0
            .insert(StateMapKey(pdu.clone()), StateMapValue(pdu))
            .map(|value| value.0)
    }

    /// Removes an event.
    pub fn remove(&mut self, event_type: &str, key: &str) -> Option<Arc<Pdu>> {
        self.0
            .remove(&StateKey { event_type, key })
            .map(|value| value.0)
    }

    /// All events, by type and state key.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pdu>> {
        self.0.values().map(|value| &value.0)
    }

    /// The events of one type, by state key.
    pub fn of_type<'a>(&'a self, event_type: &'a str) -> impl Iterator<Item = &'a Arc<Pdu>> {
        let start = Bound::Included(StateKey {
            event_type,
            key: "",
        });
        self.0
            .range((start, Bound::Unbounded))
            .map(|(_, value)| &value.0)
            .take_while(move |pdu| pdu.event_type() == event_type)
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The membership of a user; `Leave` for one who never was in the room.
    pub fn membership(&self, user_id: &UserId) -> MembershipState {
        self.get("m.room.member", user_id.as_str())
            .and_then(|pdu| pdu.membership())
            .unwrap_or(MembershipState::Leave)
    }

    /// What to take out and put in to turn this state into `other`, as pairs of the old and the
    /// new event of each place that differs; shared parts are not visited.
    pub fn diff<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a Arc<Pdu>>, Option<&'a Arc<Pdu>>)> {
        self.0.diff(&other.0).map(|item| match item {
            DiffItem::Add(_, new) => (None, Some(&new.0)),
            DiffItem::Update {
                old: (_, old),
                new: (_, new),
            } => (Some(&old.0), Some(&new.0)),
            DiffItem::Remove(_, old) => (Some(&old.0), None),
        })
    }
}

impl FromIterator<Arc<Pdu>> for State {
    fn from_iter<I: IntoIterator<Item = Arc<Pdu>>>(events: I) -> Self {
        let mut state = Self::new();
        for event in events {
            state.insert(event);
        }
        state
    }
}

impl StateMapKey {
    fn state_key(&self) -> StateKey<'_> {
        StateKey {
            event_type: self.0.event_type(),
            key: self.0.state_key().unwrap_or_default(),
        }
    }
}

impl PartialEq for StateMapKey {
    fn eq(&self, other: &Self) -> bool {
        self.state_key() == other.state_key()
    }
}

impl Eq for StateMapKey {}

impl PartialEq for StateMapValue {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.event_id() == other.0.event_id()
    }
}

impl PartialOrd for StateMapKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StateMapKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.state_key().cmp(&other.state_key())
    }
}

impl Equivalent<StateMapKey> for StateKey<'_> {
    fn equivalent(&self, key: &StateMapKey) -> bool {
        *self == key.state_key()
    }
}

impl Comparable<StateMapKey> for StateKey<'_> {
    fn compare(&self, key: &StateMapKey) -> Ordering {
        self.cmp(&key.state_key())
    }
}

/// The text of an event type, without an allocation for those that the rules ask for.
pub(crate) fn type_text(event_type: &StateEventType) -> Cow<'static, str> {
    Cow::Borrowed(match event_type {
        StateEventType::RoomCreate => "m.room.create",
        StateEventType::RoomMember => "m.room.member",
        StateEventType::RoomPowerLevels => "m.room.power_levels",
        StateEventType::RoomJoinRules => "m.room.join_rules",
        StateEventType::RoomThirdPartyInvite => "m.room.third_party_invite",
        other => return Cow::Owned(other.to_string()),
    })
}

#[cfg(test)]
mod tests;
