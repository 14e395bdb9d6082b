//! Every event that a user was ever shown, wherever it stood in an answer.

use std::collections::BTreeSet;

use serde_json::Value;

/// An event that was shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shown {
    pub(super) room_id: String,
    pub(super) event_id: String,
    /// The event of the user's own membership that was current when it was shown; none when that
    /// was a join.
    pub(super) until: Option<String>,
    /// The room's membership that the server said the user had at the event.
    pub(super) membership: Option<String>,
    /// What the event replaced, as it was shown with it.
    pub(super) replaced: Option<String>,
    /// It stood in another event, as the redaction of it.
    pub(super) is_inner: bool,
}

/// What a user was shown.
#[derive(Default)]
pub(super) struct Seen(pub(super) BTreeSet<Shown>);

impl Seen {
    /// Takes all events that stand anywhere in a part of an answer.
    pub(super) fn add(&mut self, room_id: &str, part: &Value, until: Option<&str>) {
        self.collect(room_id, part, until, false);
    }

    fn collect(&mut self, room_id: &str, part: &Value, until: Option<&str>, is_inner: bool) {
        match part {
            Value::Array(items) => {
                for item in items {
                    self.collect(room_id, item, until, is_inner);
                }
            }
            Value::Object(fields) => {
                let is_event = ["event_id", "type", "content"]
                    .iter()
                    .all(|field| fields.contains_key(*field));
                if is_event {
                    let unsigned = &part["unsigned"];
                    self.0.insert(Shown {
                        room_id: room_id.to_owned(),
                        event_id: part["event_id"].as_str().unwrap().to_owned(),
                        until: until.map(str::to_owned),
                        membership: unsigned["membership"].as_str().map(str::to_owned),
                        replaced: unsigned.get("prev_content").map(Value::to_string),
                        is_inner,
                    });
                }
                for value in fields.values() {
                    self.collect(room_id, value, until, is_inner || is_event);
                }
            }
            _ => {}
        }
    }
}
