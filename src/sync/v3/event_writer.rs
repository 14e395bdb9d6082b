//! Serialises events in the format that the filter asks for.

use std::sync::Arc;

use event::{
    ClientEvent, Pdu,
    view::{Common, PerReader},
};
use live::{Aggregations, Reader, TimelineEvent};
use serde_json::{Map, Value};
use storage::StoredEvent;

use super::filter::Filter;

/// Writes events for one reader.
#[derive(Clone, Copy)]
pub(crate) struct EventWriter<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) filter: &'a Filter,
    pub(crate) aggregations: &'a Aggregations,
    pub(crate) now_ms: u64,
}

impl EventWriter<'_> {
    /// Appends an event of a timeline.
    pub(crate) fn timeline_event(
        &self,
        out: &mut String,
        timeline_event: &TimelineEvent,
        membership: &str,
    ) {
        let start = out.len();
        let write_child = |child: &StoredEvent, relations: Option<&str>, out: &mut String| {
            let per_reader = PerReader {
                membership: None,
                relations,
                ..self.reader.per_reader(child, membership, self.now_ms)
            };
            self.write(out, &TimelineEvent::new(child.clone()), per_reader);
        };
        let event = timeline_event.event();
        let relations = self.aggregations.write(event.nid, &write_child);
        let per_reader = PerReader {
            relations: relations.as_deref(),
            ..self.reader.per_reader(event, membership, self.now_ms)
        };
        self.write(out, timeline_event, per_reader);
        self.prune(out, start);
    }

    fn write(&self, out: &mut String, event: &TimelineEvent, per_reader: PerReader<'_>) {
        if self.filter.federation_format {
            event.write_federation_format(out, per_reader);
        } else {
            event.write(out, per_reader);
        }
    }

    /// Appends a state event.
    pub(crate) fn state(&self, out: &mut String, pdu: &Arc<Pdu>) {
        let start = out.len();
        if self.filter.federation_format {
            out.push_str(pdu.json());
        } else {
            let view = ClientEvent {
                pdu,
                room_id: false,
            };
            view.write_with(Common::default(), PerReader::age(pdu, self.now_ms), out);
        }
        self.prune(out, start);
    }

    /// Prunes the event at the end of the text to the `event_fields` of the filter.
    fn prune(&self, out: &mut String, start: usize) {
        let Some(fields) = &self.filter.event_fields else {
            return;
        };
        let event = out
            .get(start..)
            .and_then(|text| serde_json::from_str(text).ok());
        if let Some(event) = event {
            let mut kept = Value::Object(Map::new());
            for field in fields {
                keep(&event, field, &mut kept);
            }
            out.truncate(start);
            out.push_str(&kept.to_string());
        }
    }
}

/// Copies the value at a path.
fn keep(from: &Value, path: &[String], to: &mut Value) {
    let [name, rest @ ..] = path else {
        return;
    };
    let (Some(value), Value::Object(to)) = (from.get(name), to) else {
        return;
    };
    if rest.is_empty() {
        to.insert(name.clone(), value.clone());
    } else if value.is_object() {
        let below = to
            .entry(name.clone())
            .or_insert_with(|| Value::Object(Map::new()));
        keep(value, rest, below);
    }
}
