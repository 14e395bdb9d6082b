//! Serialises events in the format that the filter asks for.

use std::sync::Arc;

use event::{
    ClientEvent, Pdu,
    view::{Common, PerReader},
};
use live::{Reader, TimelineEvent};
use serde_json::{Map, Value};

use super::filter::Filter;

/// Writes events for one reader.
#[derive(Clone, Copy)]
pub(crate) struct EventWriter<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) filter: &'a Filter,
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
        let per_reader = self
            .reader
            .per_reader(timeline_event.event(), membership, self.now_ms);
        if self.filter.federation_format {
            timeline_event.write_federation_format(out, per_reader);
        } else {
            timeline_event.write(out, per_reader);
        }
        self.prune(out, start);
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
