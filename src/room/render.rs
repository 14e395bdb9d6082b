//! Rendering events for one reader.

use event::{
    ClientEvent, Pdu,
    view::{Common, PerReader},
};
use live::{Aggregations, Reader, UserVisibility};
use storage::StoredEvent;

/// Writes events for a reader of one room.
pub(crate) struct Renderer<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) visibility: &'a UserVisibility,
    pub(crate) aggregations: &'a Aggregations,
    pub(crate) now_ms: u64,
}

impl Renderer<'_> {
    /// Appends an event with all that the server knows of it.
    pub(crate) fn event(&self, event: &StoredEvent, out: &mut String) {
        let write_child = |child: &StoredEvent, relations: Option<&str>, out: &mut String| {
            self.write(child, relations, out);
        };
        let relations = self.aggregations.write(event.nid, &write_child);
        self.write(event, relations.as_deref(), out);
    }

    fn write(&self, event: &StoredEvent, relations: Option<&str>, out: &mut String) {
        let membership = self.visibility.membership_at(event.history_order);
        let per_reader = PerReader {
            relations,
            ..self.reader.per_reader(event, membership, self.now_ms)
        };
        ClientEvent::of(&event.pdu).write_with(live::common(event), per_reader, out);
    }

    /// A list of events.
    pub(crate) fn events<'e>(&self, events: impl IntoIterator<Item = &'e StoredEvent>) -> String {
        list(events, |event, out| self.event(event, out))
    }
}

/// A list of state events of which only the event itself is known.
pub(crate) fn state<'e>(events: impl IntoIterator<Item = &'e Pdu>, now_ms: u64) -> String {
    list(events, |pdu, out| {
        ClientEvent::of(pdu).write_with(Common::default(), PerReader::age(pdu, now_ms), out);
    })
}

fn list<T>(items: impl IntoIterator<Item = T>, write: impl Fn(T, &mut String)) -> String {
    let mut out = String::from("[");
    for item in items {
        if out.len() > 1 {
            out.push(',');
        }
        write(item, &mut out);
    }
    out.push(']');
    out
}
