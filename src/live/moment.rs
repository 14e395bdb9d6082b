//! An event of the recent past, with its text in the form that clients get, made once for all.

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
};

use event::{Pdu, Unsigned, View, view::push_json_string};
use ruma::{DeviceId, UserId, push::FlattenedJson};
use storage::StoredEvent;

/// An event that many readers share.
#[derive(Debug)]
pub struct Moment {
    event: StoredEvent,
    texts: OnceLock<Texts>,
    flattened: OnceLock<FlattenedJson>,
}

/// What is the same for every reader.
#[derive(Debug)]
struct Texts {
    /// The event as an object that is not closed yet.
    open: String,
    /// Fields of `unsigned`, each with a comma before it.
    unsigned: String,
}

/// Who reads an event, and when.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The device, which is told its own transaction ids.
    pub device_id: &'a DeviceId,
    /// The time, for the age.
    pub now_ms: u64,
}

impl Moment {
    /// Wraps an event; nothing is written before the first reader asks.
    pub fn new(event: StoredEvent) -> Self {
        Self {
            event,
            texts: OnceLock::new(),
            flattened: OnceLock::new(),
        }
    }

    /// The event.
    pub fn event(&self) -> &StoredEvent {
        &self.event
    }

    /// The event itself.
    pub fn pdu(&self) -> &Arc<Pdu> {
        &self.event.pdu
    }

    /// The event as the conditions of push rules look into it.
    pub fn flattened(&self) -> &FlattenedJson {
        self.flattened
            .get_or_init(|| event::push::flatten(self.pdu()))
    }

    /// Appends the event as the reader sees it in `/sync`, without its room id; `membership` is
    /// what the reader was to the room at the event.
    pub fn write(&self, out: &mut String, reader: Reader<'_>, membership: &str) {
        let texts = self.texts.get_or_init(|| Texts::of(&self.event));
        out.push_str(&texts.open);
        self.close(out, &texts.unsigned, reader, membership);
    }

    /// Appends the event in the format of federation, with `unsigned` added.
    pub fn write_federation_format(&self, out: &mut String, reader: Reader<'_>, membership: &str) {
        let json = self.event.pdu.json();
        out.push_str(json.strip_suffix('}').unwrap_or(json));
        self.close(out, &fixed_unsigned(&self.event), reader, membership);
    }

    fn close(&self, out: &mut String, unsigned: &str, reader: Reader<'_>, membership: &str) {
        let sent: u64 = self.event.pdu.origin_server_ts().0.into();
        // Writing to a `String` cannot fail.
        let _ = write!(
            out,
            ",\"unsigned\":{{\"age\":{}",
            reader.now_ms.saturating_sub(sent)
        );
        out.push_str(",\"membership\":");
        push_json_string(out, membership);
        out.push_str(unsigned);
        if let Some(transaction) = &self.event.transaction
            && *transaction.device_id == *reader.device_id
            && self.event.pdu.sender() == reader.user_id
        {
            out.push_str(",\"transaction_id\":");
            push_json_string(out, &transaction.id);
        }
        out.push_str("}}");
    }

    /// About how many bytes of memory it takes, its text included.
    pub(crate) fn weight(&self) -> usize {
        let replaced = self
            .event
            .replaces
            .as_ref()
            .map_or(0, |replaced| replaced.pdu.weight());
        let redaction = self
            .event
            .redacted_because
            .as_ref()
            .map_or(0, |pdu| pdu.weight());
        self.event.pdu.weight() * 3 + replaced + redaction + 256
    }
}

impl Texts {
    fn of(event: &StoredEvent) -> Self {
        let mut open = String::new();
        let view = View {
            pdu: &event.pdu,
            room_id: false,
            unsigned: Unsigned::default(),
        };
        view.write(&mut open);
        open.pop();
        open.shrink_to_fit();
        Self {
            open,
            unsigned: fixed_unsigned(event),
        }
    }
}

/// The fields of `unsigned` that are the same for every reader.
fn fixed_unsigned(event: &StoredEvent) -> String {
    let mut out = String::new();
    if let Some(replaced) = &event.replaces {
        out.push_str(",\"prev_content\":");
        out.push_str(replaced.pdu.content_text());
        out.push_str(",\"prev_sender\":");
        push_json_string(&mut out, replaced.pdu.sender().as_str());
        out.push_str(",\"replaces_state\":");
        push_json_string(&mut out, replaced.pdu.event_id().as_str());
    }
    if let Some(redaction) = &event.redacted_because {
        out.push_str(",\"redacted_because\":");
        View {
            pdu: redaction,
            room_id: false,
            unsigned: Unsigned::default(),
        }
        .write(&mut out);
    }
    out
}
