//! Events as one reader sees them.

use event::{Pdu, Unsigned, View};
use live::sight::Sight;
use ruma::{DeviceId, UserId};
use storage::StoredEvent;

/// Who reads, and when.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The device, which is told its own transaction ids.
    pub device_id: &'a DeviceId,
}

/// Writes events for a reader of one room.
pub(crate) struct Renderer<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) sight: &'a Sight,
    pub(crate) now_ms: u64,
}

impl Renderer<'_> {
    /// Appends an event with all that the server knows of it.
    pub(crate) fn event(&self, event: &StoredEvent, out: &mut String) {
        let pdu = &*event.pdu;
        let own = event.transaction.as_ref().filter(|transaction| {
            pdu.sender() == self.reader.user_id && transaction.device_id == *self.reader.device_id
        });
        let replaced = event.replaces.as_ref().map(|replaced| &*replaced.pdu);
        let unsigned = Unsigned {
            age_ms: Some(age(pdu, self.now_ms)),
            transaction_id: own.map(|transaction| transaction.id.as_str()),
            prev_content: replaced.map(Pdu::content),
            prev_sender: replaced.map(|pdu| pdu.sender().as_str()),
            replaces_state: replaced.map(|pdu| &**pdu.event_id()),
            redacted_because: event.redacted_because.as_deref(),
            membership: Some(self.sight.membership_at(event.position)),
            relations: None,
        };
        View {
            pdu,
            room_id: true,
            unsigned,
        }
        .write(out);
    }

    /// A list of events.
    pub(crate) fn events<'e>(&self, events: impl IntoIterator<Item = &'e StoredEvent>) -> String {
        list(events, |event, out| self.event(event, out))
    }
}

/// A list of state events of which only the event itself is known.
pub(crate) fn state<'e>(events: impl IntoIterator<Item = &'e Pdu>, now_ms: u64) -> String {
    list(events, |pdu, out| {
        let unsigned = Unsigned {
            age_ms: Some(age(pdu, now_ms)),
            ..Unsigned::default()
        };
        View {
            pdu,
            room_id: true,
            unsigned,
        }
        .write(out);
    })
}

fn age(pdu: &Pdu, now_ms: u64) -> u64 {
    now_ms.saturating_sub(pdu.origin_server_ts().0.into())
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
