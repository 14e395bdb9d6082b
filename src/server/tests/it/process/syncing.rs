//! Clients that wait by `/sync` for what comes from another server.

use serde_json::Value;

use super::federation_joins::Side;

/// The position of a client, whose server may be stopped and started between its requests.
pub(super) struct Syncing {
    since: String,
}

impl Syncing {
    /// A client that has received all that is there now.
    pub(super) fn from(side: &Side) -> Self {
        let answer = side.ok("GET", "sync?timeout=0", &Value::Null);
        let since = answer["next_batch"].as_str().unwrap().to_owned();
        Self { since }
    }

    /// The next answer, as soon as something is new.
    pub(super) fn next(&mut self, side: &Side) -> Value {
        let path = format!("sync?since={}&timeout=60000", self.since);
        let answer = side.ok("GET", &path, &Value::Null);
        let since = answer["next_batch"].as_str().unwrap();
        since.clone_into(&mut self.since);
        answer
    }
}

/// A client at a server that goes on running.
pub(super) struct Waiting<'s> {
    side: &'s Side,
    syncing: Syncing,
}

impl<'s> Waiting<'s> {
    /// Waits for what comes from now on.
    pub(super) fn on(side: &'s Side) -> Self {
        let syncing = Syncing::from(side);
        Self { side, syncing }
    }

    /// The next section of the room with something in it, by the key of its kind.
    pub(super) fn section(&mut self, kind: &str, room_id: &str) -> Value {
        loop {
            let answer = self.syncing.next(self.side);
            let section = &answer["rooms"][kind][room_id];
            if !section.is_null() {
                return section.clone();
            }
        }
    }

    /// The next events of the room's timeline, of one type: as many as are asked for.
    pub(super) fn events(&mut self, room_id: &str, event_type: &str, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        while found.len() < count {
            let section = self.section("join", room_id);
            let events = section["timeline"]["events"].as_array().unwrap().iter();
            found.extend(events.filter(|event| event["type"] == event_type).cloned());
        }
        found
    }

    /// The texts of the next messages.
    pub(super) fn texts(&mut self, room_id: &str, count: usize) -> Vec<String> {
        let events = self.events(room_id, "m.room.message", count);
        let text = |event: &Value| event["content"]["body"].as_str().unwrap().to_owned();
        events.iter().map(text).collect()
    }
}
