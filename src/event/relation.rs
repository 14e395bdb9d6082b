//! How a message event relates to an event before it.
//!
//! Spec: client-server, "Forming relationships between events".

use ruma::OwnedEventId;
use serde::Deserialize;

use crate::Pdu;

/// The event that a message event relates to, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Relation {
    /// `m.thread`, `m.replace`, `m.annotation`, `m.reference` or another.
    pub rel_type: String,
    /// The event.
    pub event_id: OwnedEventId,
}

impl Relation {
    /// Whether it puts the event into the thread that the other one is the root of.
    pub fn is_thread(&self) -> bool {
        self.rel_type == "m.thread"
    }

    /// Whether the event that it relates to is returned with a summary of such relations.
    pub fn is_aggregated(&self) -> bool {
        matches!(&*self.rel_type, "m.thread" | "m.replace" | "m.reference")
    }
}

#[derive(Deserialize)]
struct Content {
    #[serde(rename = "m.relates_to")]
    relates_to: Relation,
}

impl Pdu {
    /// The relation that a message event states in the open; state events relate to nothing.
    pub fn relation(&self) -> Option<Relation> {
        // Most events have none, and need not be parsed to know it.
        if self.is_state() || !self.content_text().contains("\"m.relates_to\"") {
            return None;
        }
        let relation = self.content_as::<Content>().ok()?.relates_to;
        // What is longer is in no specification and would not fit into an index.
        let fits = |text: &str| text.len() <= crate::MAX_FIELD_BYTES && !text.contains('\0');
        (fits(&relation.rel_type) && fits(relation.event_id.as_str())).then_some(relation)
    }
}
