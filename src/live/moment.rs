//! An event of the recent past, with its text in the form that clients get, made once for all.

use std::sync::{Arc, OnceLock};

use event::{
    ClientEvent, Pdu,
    view::{Common, PerReader},
};
use ruma::{DeviceId, UserId, push::FlattenedJson};
use storage::StoredEvent;

/// An event that many readers share.
#[derive(Debug)]
pub struct Moment {
    event: StoredEvent,
    /// The event up to what only one reader is told.
    opened: OnceLock<String>,
    flattened: OnceLock<FlattenedJson>,
}

/// Who reads an event.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The device, which is told its own transaction ids.
    pub device_id: &'a DeviceId,
}

impl Reader<'_> {
    /// What this reader alone is told of an event; `membership` is what the reader was to the room
    /// at the event.
    pub fn told<'e>(
        &self,
        event: &'e StoredEvent,
        membership: &'e str,
        now_ms: u64,
    ) -> PerReader<'e> {
        let own = event.transaction.as_ref().filter(|transaction| {
            *transaction.device_id == *self.device_id && event.pdu.sender() == self.user_id
        });
        PerReader {
            membership: Some(membership),
            transaction_id: own.map(|transaction| transaction.id.as_str()),
            ..PerReader::age(&event.pdu, now_ms)
        }
    }
}

/// What every reader of an event is told beside it.
pub fn shared(event: &StoredEvent) -> Common<'_> {
    Common {
        replaced: event.replaces.as_ref().map(|replaced| &*replaced.pdu),
        redacted_because: event.redacted_because.as_deref(),
    }
}

impl Moment {
    /// Wraps an event; nothing is written before the first reader asks.
    pub fn new(event: StoredEvent) -> Self {
        Self {
            event,
            opened: OnceLock::new(),
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

    /// Appends the event as a reader sees it in `/sync`, without its room id.
    pub fn write(&self, out: &mut String, per_reader: PerReader<'_>) {
        let opened = self.opened.get_or_init(|| {
            let mut opened = String::new();
            let view = ClientEvent {
                pdu: self.pdu(),
                room_id: false,
            };
            view.write_prefix(shared(&self.event), &mut opened);
            opened.shrink_to_fit();
            opened
        });
        out.push_str(opened);
        per_reader.write_unsigned_end(out);
    }

    /// Appends the event in the format of federation, with `unsigned` added.
    pub fn write_federation_format(&self, out: &mut String, per_reader: PerReader<'_>) {
        let json = self.pdu().json();
        out.push_str(json.strip_suffix('}').unwrap_or(json));
        shared(&self.event).write_unsigned_start(false, out);
        per_reader.write_unsigned_end(out);
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
