//! The stream: all changes that clients learn about, in commit order.

use std::{collections::HashMap, hash::Hash};

use ruma::{OwnedDeviceId, OwnedEventId, OwnedUserId};
use types::{EventNid, RoomNid, StreamPosition};

use crate::{Connection, Error, StoredEvent};

mod read;

pub use read::read;

/// One durable change that a client can learn about; it takes one position.
#[derive(Clone, Debug)]
pub enum Change {
    /// An event entered a room.
    Event(EventChange),
    /// A user read up to an event.
    Receipt(Receipt),
    /// A user's private data changed.
    AccountData(AccountData),
    /// A message waits for a device.
    ToDevice(ToDevice),
    /// A user's devices, their keys or the cross-signing keys changed.
    DeviceList {
        /// Whose.
        user_id: OwnedUserId,
    },
    /// A user signed another user's master key.
    UserSigned {
        /// Who signed; nobody else gets to see it.
        signer: OwnedUserId,
        /// Whose key.
        user_id: OwnedUserId,
    },
    /// The number of a device's one-time or fallback keys changed.
    KeyCounts {
        /// Whose.
        user_id: OwnedUserId,
        /// Which device.
        device_id: OwnedDeviceId,
    },
}

/// An event and its effect on the room.
#[derive(Clone, Debug)]
pub struct EventChange {
    /// The event; its position is set when it is committed.
    pub event: StoredEvent,
    /// Whether it is a state event that becomes part of the current state.
    pub current: bool,
    /// The event that it redacts, as it looks afterwards.
    pub redacts: Option<Redacted>,
}

/// An event without its content.
#[derive(Clone, Debug)]
pub struct Redacted {
    /// Which event.
    pub event_nid: EventNid,
    /// Its position in the stream; 0 when it is not part of the timeline.
    pub position: StreamPosition,
    /// What is left of it.
    pub pdu: std::sync::Arc<event::Pdu>,
}

/// A row of `receipts`.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The room.
    pub room_nid: RoomNid,
    /// Who has read.
    pub user_id: OwnedUserId,
    /// `m.read` or `m.read.private`.
    pub receipt_type: String,
    /// A thread root, `main`, or empty when not bound to a thread.
    pub thread_id: String,
    /// The event read up to.
    pub event_id: OwnedEventId,
    /// The position of that event in the stream; 0 when it is not known here.
    pub event_position: StreamPosition,
    /// When, in milliseconds since the epoch.
    pub ts: i64,
}

/// A row of `account_data`.
#[derive(Clone, Debug)]
pub struct AccountData {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The room it belongs to; none for the account itself.
    pub room_nid: Option<RoomNid>,
    /// The event type.
    pub event_type: String,
    /// The content, a JSON object.
    pub content: String,
}

/// A row of `to_device`.
#[derive(Clone, Debug)]
pub struct ToDevice {
    /// For whom.
    pub user_id: OwnedUserId,
    /// For which device.
    pub device_id: OwnedDeviceId,
    /// From whom.
    pub sender: OwnedUserId,
    /// The event type.
    pub event_type: String,
    /// The content, a JSON object.
    pub content: String,
}

/// Changes in the order in which they take positions.
#[derive(Clone, Debug, Default)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one.
    pub fn push(&mut self, change: Change) {
        self.0.push(change);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many positions they take.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The changes with their offsets from the base position, the first at 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (i64, &Change)> {
        (1..).zip(&self.0)
    }

    pub(crate) fn into_inner(self) -> Vec<Change> {
        self.0
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl FromIterator<Change> for Changes {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Self(changes.into_iter().collect())
    }
}

/// The last committed position of the stream.
pub async fn position(db: &mut Connection) -> Result<StreamPosition, Error> {
    let position = sqlx::query_scalar!("SELECT position FROM stream")
        .fetch_one(db)
        .await?;
    Ok(StreamPosition(position))
}

/// Keeps the last of the rows that share a key: one statement cannot write a row twice.
pub(crate) fn deduplicate<K: Hash + Eq, R>(rows: impl Iterator<Item = (K, R)>) -> Vec<R> {
    rows.collect::<HashMap<K, R>>().into_values().collect()
}
