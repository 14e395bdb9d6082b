//! What really happened in a room, and what of it a user may see: the rules once more, written
//! down without the server's code.
//!
//! Spec: client-server, "Room history visibility".

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::fold::StateIds;
use super::world::{Http, OWNER, World, encoded};

/// The state events of a room by type and state key, as indexes into its history.
type State = BTreeMap<(String, String), usize>;

/// All events of a room, oldest first, and the state after each.
pub(super) struct History {
    pub(super) room_id: String,
    pub(super) events: Vec<Value>,
    states: Vec<State>,
    indexes: HashMap<String, usize>,
}

/// Reads all rooms as the user who was in them from the beginning.
pub(super) fn read(world: &World, http: &mut Http) -> BTreeMap<String, History> {
    let room_ids = world.room_ids();
    let history = |room_id: String| (room_id.clone(), History::read(world, http, room_id));
    room_ids.into_iter().map(history).collect()
}

impl History {
    fn read(world: &World, http: &mut Http, room_id: String) -> Self {
        let token = &world.users[OWNER].devices[0].token;
        let (mut events, mut from) = (Vec::new(), String::new());
        loop {
            let path = format!("rooms/{}/messages?dir=f&limit=500{from}", encoded(&room_id));
            let page = http.get(0, token, &path).ok();
            events.extend(page["chunk"].as_array().unwrap().iter().cloned());
            match page["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => return Self::new(room_id, events),
            }
        }
    }

    fn new(room_id: String, events: Vec<Value>) -> Self {
        let (mut states, mut state) = (Vec::new(), State::new());
        let mut indexes = HashMap::new();
        for (index, event) in events.iter().enumerate() {
            if let Some(state_key) = event["state_key"].as_str() {
                let event_type = event["type"].as_str().unwrap().to_owned();
                state.insert((event_type, state_key.to_owned()), index);
            }
            states.push(state.clone());
            let repeated = indexes.insert(event_id(event).to_owned(), index);
            assert_eq!(
                repeated, None,
                "the history of {room_id} has an event twice"
            );
        }
        Self {
            room_id,
            events,
            states,
            indexes,
        }
    }

    pub(super) fn last(&self) -> usize {
        self.events.len() - 1
    }

    pub(super) fn index(&self, event_id: &str) -> Option<usize> {
        self.indexes.get(event_id).copied()
    }

    /// Where an event is that has happened.
    pub(super) fn known_index(&self, event_id: &str) -> usize {
        self.indexes[event_id]
    }

    pub(super) fn id(&self, index: usize) -> &str {
        event_id(&self.events[index])
    }

    /// The state after an event, as event ids.
    pub(super) fn state_ids(&self, index: usize) -> StateIds {
        let named =
            |(key, index): (&(String, String), &usize)| (key.clone(), self.id(*index).to_owned());
        self.states[index].iter().map(named).collect()
    }

    /// The event that an event replaced, as state.
    pub(super) fn replaced(&self, index: usize) -> Option<usize> {
        let event = &self.events[index];
        let key = (
            event["type"].as_str()?.to_owned(),
            event["state_key"].as_str()?.to_owned(),
        );
        self.states[index.checked_sub(1)?].get(&key).copied()
    }

    fn value(
        &self,
        index: Option<usize>,
        event_type: &str,
        state_key: &str,
        field: &str,
    ) -> Option<&str> {
        let key = (event_type.to_owned(), state_key.to_owned());
        let event = self.states[index?].get(&key)?;
        self.events[*event]["content"][field].as_str()
    }

    /// What a user is to the room after an event.
    pub(super) fn membership(&self, user_id: &str, index: Option<usize>) -> &str {
        self.value(index, "m.room.member", user_id, "membership")
            .unwrap_or("leave")
    }

    pub(super) fn visibility(&self, index: Option<usize>) -> &str {
        let event_type = "m.room.history_visibility";
        self.value(index, event_type, "", "history_visibility")
            .unwrap_or("shared")
    }

    /// Whether the whole world may read the room after an event.
    pub(super) fn is_open_after(&self, index: usize) -> bool {
        self.visibility(Some(index)) == "world_readable"
    }

    /// The last event of a user's last stay in the room up to `until`: the one before that by which
    /// the user left is in the stay, too, and so is that one. None for who was never joined.
    pub(super) fn end_of_stay(&self, user_id: &str, until: usize) -> Option<usize> {
        if self.membership(user_id, Some(until)) == "join" {
            return Some(until);
        }
        let is_joined = |index: &usize| self.membership(user_id, Some(*index)) == "join";
        (0..until).rev().find(is_joined).map(|last| last + 1)
    }

    /// Whether a user may see an event at the time of another one: everybody sees how they came and
    /// went.
    pub(super) fn may_see(&self, user_id: &str, index: usize, until: usize) -> bool {
        self.allows(user_id, index, until) || self.is_member_event(user_id, index)
    }

    /// Whether the history visibility lets a user see an event at the time of another one.
    pub(super) fn allows(&self, user_id: &str, index: usize, until: usize) -> bool {
        let is_joined = |index: usize| self.membership(user_id, Some(index)) == "join";
        let joined_since = (index..=until).any(is_joined);
        let allows = |visibility: &str, membership: &str| match visibility {
            "world_readable" => true,
            _ if membership == "join" => true,
            "shared" => joined_since,
            "invited" => membership == "invite",
            _ => false,
        };
        let (before, after) = (index.checked_sub(1), Some(index));
        let memberships = [
            self.membership(user_id, before),
            self.membership(user_id, after),
        ];
        let visibilities = [self.visibility(before), self.visibility(after)];
        // Events that change one of the two are seen if either side allows it.
        memberships
            .into_iter()
            .any(|membership| allows(visibilities[0], membership))
            || allows(visibilities[1], memberships[0])
    }

    /// Whether an event is the user's own coming or going.
    pub(super) fn is_member_event(&self, user_id: &str, index: usize) -> bool {
        let event = &self.events[index];
        event["type"] == "m.room.member" && event["state_key"] == user_id
    }

    /// Whether an event was part of the state at any time in one of the user's stays up to `until`,
    /// the moment before the stay began included.
    pub(super) fn was_state_for(&self, user_id: &str, index: usize, until: usize) -> bool {
        let event = &self.events[index];
        let (Some(event_type), Some(state_key)) =
            (event["type"].as_str(), event["state_key"].as_str())
        else {
            return false;
        };
        let key = (event_type.to_owned(), state_key.to_owned());
        let begins =
            |index: usize| index < until && self.membership(user_id, Some(index + 1)) == "join";
        let is_joined =
            |index: usize| self.membership(user_id, Some(index)) == "join" || begins(index);
        let holds = |at: &usize| self.states[*at].get(&key) == Some(&index);
        (index..=until).take_while(holds).any(is_joined)
    }
}

pub(super) fn event_id(event: &Value) -> &str {
    event["event_id"]
        .as_str()
        .unwrap_or_else(|| panic!("no event id: {event}"))
}
