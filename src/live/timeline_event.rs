//! A timeline event with its serialised client format, made once for all readers.

use std::sync::{Arc, OnceLock};

use event::{
    ClientEvent, Pdu,
    view::{Common, PerReader},
};
use ruma::{DeviceId, UserId, push::FlattenedJson};
use storage::StoredEvent;
use types::StreamPosition;

/// An event shared by all readers of the timeline.
#[derive(Debug)]
pub struct TimelineEvent {
    event: StoredEvent,
    /// The serialised event up to the fields that differ by reader.
    prefix: OnceLock<String>,
    flattened: OnceLock<FlattenedJson>,
}

/// The user and device that an event is serialised for.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The device, which receives its own transaction ids; none for a caller without one.
    pub device_id: Option<&'a DeviceId>,
}

impl Reader<'_> {
    /// The `unsigned` fields that depend on the reader; `membership` is the reader's membership at
    /// the event.
    pub fn per_reader<'e>(
        &self,
        event: &'e StoredEvent,
        membership: &'e str,
        now_ms: u64,
    ) -> PerReader<'e> {
        let own = event.transaction.as_ref().filter(|transaction| {
            transaction.device_id.as_deref() == self.device_id && event.pdu.sender() == self.user_id
        });
        PerReader {
            membership: Some(membership),
            transaction_id: own.map(|transaction| transaction.id.as_str()),
            ..PerReader::age(&event.pdu, now_ms)
        }
    }
}

/// The `unsigned` fields that are the same for every reader.
pub fn common(event: &StoredEvent) -> Common<'_> {
    Common {
        replaced: event.replaces.as_ref().map(|replaced| &*replaced.pdu),
        redacted_because: event.redacted_because.as_deref(),
    }
}

impl TimelineEvent {
    /// Wraps an event; it is serialised on first use.
    pub fn new(event: StoredEvent) -> Self {
        Self {
            event,
            prefix: OnceLock::new(),
            flattened: OnceLock::new(),
        }
    }

    /// The event.
    pub fn event(&self) -> &StoredEvent {
        &self.event
    }

    /// Its position in the stream.
    pub fn position(&self) -> StreamPosition {
        self.event.position.unwrap_or_default()
    }

    /// The event itself.
    pub fn pdu(&self) -> &Arc<Pdu> {
        &self.event.pdu
    }

    /// The event in the flattened form that push conditions match.
    pub fn flattened(&self) -> &FlattenedJson {
        self.flattened
            .get_or_init(|| event::push::flatten(self.pdu()))
    }

    /// Appends the event in the format of `/sync`, without its room id.
    pub fn write(&self, out: &mut String, per_reader: PerReader<'_>) {
        let prefix = self.prefix.get_or_init(|| {
            let mut prefix = String::new();
            let view = ClientEvent {
                pdu: self.pdu(),
                room_id: false,
            };
            view.write_prefix(common(&self.event), &mut prefix);
            prefix.shrink_to_fit();
            prefix
        });
        out.push_str(prefix);
        per_reader.write_unsigned_end(out);
    }

    /// Appends the event in the format of federation, with `unsigned` added.
    pub fn write_federation_format(&self, out: &mut String, per_reader: PerReader<'_>) {
        let json = self.pdu().json();
        out.push_str(json.strip_suffix('}').unwrap_or(json));
        common(&self.event).write_unsigned_start(false, out);
        per_reader.write_unsigned_end(out);
    }

    /// Its approximate size in bytes, with the serialised form.
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
