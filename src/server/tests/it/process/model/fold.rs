//! What a client knows, folded from the answers to `/sync` as the specification says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::history::event_id;

/// The events of a state, by type and state key.
pub(super) type StateIds = BTreeMap<(String, String), String>;

/// What a client knows of a room.
#[derive(Clone, Default)]
pub(super) struct Room {
    /// In which section the room was last: `join`, `invite`, `knock` or `leave`.
    pub(super) section: String,
    /// Event ids by type and state key.
    pub(super) state: StateIds,
    /// Event ids of the present stay, oldest first.
    pub(super) timeline: Vec<String>,
    /// Whether the timeline goes back to the first event that the user may see.
    pub(super) is_complete: bool,
    /// A gap could not be filled, as the user was no longer allowed to.
    pub(super) has_gap: bool,
    pub(super) stripped: Vec<Value>,
    pub(super) account_data: BTreeMap<String, Value>,
    /// Event ids by user, type and thread.
    pub(super) receipts: BTreeMap<(String, String, String), String>,
    pub(super) typing: BTreeSet<String>,
    pub(super) summary: BTreeMap<String, Value>,
    pub(super) unread: Value,
}

/// What a client knows.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) since: Option<String>,
    pub(super) rooms: BTreeMap<String, Room>,
    pub(super) account_data: BTreeMap<String, Value>,
    pub(super) to_device: Vec<Value>,
    /// Users in the device lists that the client received, and whether the last one says that it
    /// shares a room with them.
    pub(super) device_lists: BTreeMap<String, bool>,
    pub(super) key_counts: Value,
}

/// How a client takes the answers.
#[derive(Clone, Copy, Default)]
pub(super) struct Habits {
    /// It asks for the state after the timeline.
    pub(super) state_after: bool,
    /// It forgets the state of a room when it is left.
    pub(super) is_forgetful: bool,
}

impl Known {
    /// Takes what belongs to no room.
    pub(super) fn fold_account(&mut self, answer: &Value) {
        self.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
        for event in list(&answer["account_data"]["events"]) {
            self.account_data
                .insert(text(event, "type"), event["content"].clone());
        }
        self.to_device
            .extend(list(&answer["to_device"]["events"]).iter().cloned());
        let lists = [("changed", true), ("left", false)];
        for (user_id, is_shared) in lists.iter().flat_map(|(field, is_shared)| {
            list(&answer["device_lists"][field])
                .iter()
                .map(move |user_id| (user_id, is_shared))
        }) {
            self.device_lists
                .insert(user_id.as_str().unwrap().to_owned(), *is_shared);
        }
        if let Some(counts) = answer.get("device_one_time_keys_count") {
            self.key_counts = counts.clone();
        }
    }

    /// Takes rooms to which the user is invited or at which the user knocks.
    pub(super) fn fold_stripped(&mut self, answer: &Value) {
        for (section, part) in [("invite", "invite_state"), ("knock", "knock_state")] {
            for (room_id, update) in object(&answer["rooms"][section]) {
                let room = self.rooms.entry(room_id.clone()).or_default();
                section.clone_into(&mut room.section);
                room.stripped = list(&update[part]["events"]).to_vec();
            }
        }
    }
}

impl Room {
    /// Takes what an answer tells of a room that the user is in or has left.
    ///
    /// Returns where the gap before the timeline is to be filled from, if there is one.
    pub(super) fn fold(&mut self, section: &str, update: &Value, habits: Habits) -> Option<String> {
        if self.section != "join" {
            self.timeline.clear();
            self.is_complete = false;
            self.has_gap = false;
            self.typing.clear();
            if habits.is_forgetful {
                self.state.clear();
            }
        }
        section.clone_into(&mut self.section);
        let events = list(&update["timeline"]["events"]);
        let state = if habits.state_after {
            "state_after"
        } else {
            "state"
        };
        self.set_state(list(&update[state]["events"]));
        if !habits.state_after {
            self.set_state(events);
        }
        self.fold_data(update);
        let is_limited = update["timeline"]["limited"] == true;
        let gap = is_limited.then(|| text(&update["timeline"], "prev_batch"));
        if gap.is_some() {
            self.is_complete = false;
        }
        gap
    }

    fn set_state(&mut self, events: &[Value]) {
        for event in events {
            if let Some(state_key) = event["state_key"].as_str() {
                let key = (text(event, "type"), state_key.to_owned());
                self.state.insert(key, event_id(event).to_owned());
            }
        }
    }

    fn fold_data(&mut self, update: &Value) {
        for event in list(&update["account_data"]["events"]) {
            self.account_data
                .insert(text(event, "type"), event["content"].clone());
        }
        for event in list(&update["ephemeral"]["events"]) {
            match event["type"].as_str() {
                Some("m.typing") => {
                    let users = list(&event["content"]["user_ids"]);
                    self.typing = users
                        .iter()
                        .map(|user| user.as_str().unwrap().to_owned())
                        .collect();
                }
                Some("m.receipt") => self.fold_receipts(&event["content"]),
                _ => {}
            }
        }
        for (field, value) in object(&update["summary"]) {
            self.summary.insert(field.clone(), value.clone());
        }
        if let Some(unread) = update.get("unread_notifications") {
            self.unread = unread.clone();
        }
    }

    fn fold_receipts(&mut self, content: &Value) {
        for (event_id, types) in object(content) {
            for (receipt_type, users) in object(types) {
                for (user_id, receipt) in object(users) {
                    let thread = receipt["thread_id"].as_str().unwrap_or("").to_owned();
                    let key = (user_id.clone(), receipt_type.clone(), thread);
                    self.receipts.insert(key, event_id.clone());
                }
            }
        }
    }
}

/// The items of a list; none if there is no list.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The fields of an object; none if there is no object.
pub(super) fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field}: {value}"))
        .to_owned()
}
