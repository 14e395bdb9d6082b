//! The stream: all changes that clients learn about, in commit order.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use event::Pdu;
use ruma::{
    OwnedDeviceId, OwnedEventId, OwnedServerName, OwnedTransactionId, OwnedUserId,
    events::room::member::MembershipState,
};
use types::{EventNid, HistoryOrder, RoomNid, StateKeyNid, StreamPosition};

use crate::{Connection, Error, StoredEvent};

mod read;

pub use read::{batch_end, read, read_kinds};

/// One durable change that a client can learn about; it takes one position.
#[derive(Clone, Debug)]
pub enum Change {
    /// An event was appended to the timeline of a room.
    Event(EventChange),
    /// The current state of a room changed, by the event right before.
    State(StateDelta),
    /// Parts of the state of a room are not known, or all of it is from now on.
    PartialState {
        /// The room.
        room_nid: RoomNid,
        /// The servers that are said to be in the room while its members are not known; none when
        /// the whole state is.
        servers: Option<Arc<BTreeSet<OwnedServerName>>>,
    },
    /// A user read up to an event.
    Receipt(Receipt),
    /// A user's private data changed.
    AccountData(AccountData),
    /// A message waits for a device.
    ToDevice(ToDevice),
    /// Messages are to go to devices of another server. Those of a request that was repeated are among
    /// the changes of a commit, but not in the table.
    OutgoingToDevice(OutgoingToDevice),
    /// A user's devices, their keys or the cross-signing keys changed.
    DeviceList {
        /// Whose.
        user_id: OwnedUserId,
    },
    /// A user signed another user's master key.
    UserSigned {
        /// Who signed; the signature is returned to this user only.
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

/// The kinds of changes, for those who want some of them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// [`Change::Event`].
    Event,
    /// [`Change::State`].
    State,
    /// [`Change::PartialState`].
    PartialState,
    /// [`Change::Receipt`].
    Receipt,
    /// [`Change::AccountData`].
    AccountData,
    /// [`Change::ToDevice`].
    ToDevice,
    /// [`Change::OutgoingToDevice`].
    OutgoingToDevice,
    /// [`Change::DeviceList`].
    DeviceList,
    /// [`Change::UserSigned`].
    UserSigned,
    /// [`Change::KeyCounts`].
    KeyCounts,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Event,
        Self::State,
        Self::PartialState,
        Self::Receipt,
        Self::AccountData,
        Self::ToDevice,
        Self::OutgoingToDevice,
        Self::DeviceList,
        Self::UserSigned,
        Self::KeyCounts,
    ];
}

impl Change {
    /// Its kind.
    pub fn kind(&self) -> ChangeKind {
        match self {
            Self::Event(_) => ChangeKind::Event,
            Self::State(_) => ChangeKind::State,
            Self::PartialState { .. } => ChangeKind::PartialState,
            Self::Receipt(_) => ChangeKind::Receipt,
            Self::AccountData(_) => ChangeKind::AccountData,
            Self::ToDevice(_) => ChangeKind::ToDevice,
            Self::OutgoingToDevice(_) => ChangeKind::OutgoingToDevice,
            Self::DeviceList { .. } => ChangeKind::DeviceList,
            Self::UserSigned { .. } => ChangeKind::UserSigned,
            Self::KeyCounts { .. } => ChangeKind::KeyCounts,
        }
    }
}

/// An event and its effect on the room.
#[derive(Clone, Debug)]
pub struct EventChange {
    /// The event; its place is set when it is committed.
    pub event: StoredEvent,
    /// The event that it redacts, in its redacted form.
    pub redacts: Option<Redacted>,
}

/// An event without its content.
#[derive(Clone, Debug)]
pub struct Redacted {
    /// Which event.
    pub event_nid: EventNid,
    /// Where it stands in the room's history.
    pub history_order: Option<HistoryOrder>,
    /// What is left of it.
    pub pdu: Arc<Pdu>,
}

/// How the current state of a room changed. It takes a position of its own, right after that of the
/// event that caused it and in the same commit: no token stands between the two. None caused it where
/// the whole state of a room became known.
#[derive(Clone, Debug)]
pub struct StateDelta {
    /// The room.
    pub room_nid: RoomNid,
    /// The keys that appeared, changed or vanished, each once.
    pub changes: Vec<StateChange>,
}

/// What happened to one key of a state.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// The key.
    pub key: StateKeyNid,
    /// What it was; none if it was not there.
    pub from: Option<StateEvent>,
    /// What it is now; none if it is not there any more.
    pub to: Option<StateEvent>,
}

impl StateChange {
    /// An event of the key, which has its type and state key: the new one if there is one.
    pub fn event(&self) -> Option<&Arc<Pdu>> {
        let event = self.to.as_ref().or(self.from.as_ref());
        event.map(|event| &event.pdu)
    }

    /// Whether a member has joined who was not joined before.
    pub fn is_join(&self) -> bool {
        let joined = |membership| membership == Some(MembershipState::Join);
        let memberships = self.memberships();
        memberships.is_some_and(|(before, after)| joined(after) && !joined(before))
    }

    /// The memberships of the user before and after, if it is a member that changed.
    pub fn memberships(&self) -> Option<(Option<MembershipState>, Option<MembershipState>)> {
        let event = self.event()?;
        if event.event_type() != "m.room.member" {
            return None;
        }
        let membership = |event: &Option<StateEvent>| event.as_ref()?.pdu.membership();
        Some((membership(&self.from), membership(&self.to)))
    }
}

/// An event of a state.
#[derive(Clone, Debug)]
pub struct StateEvent {
    /// Its number.
    pub nid: EventNid,
    /// The event; type and state key are its own.
    pub pdu: Arc<Pdu>,
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
    /// Where that event stands in the room's history; none when it is not part of it here.
    pub event_order: Option<HistoryOrder>,
    /// When, in milliseconds since the epoch.
    pub ts: i64,
}

/// The receipt of a row.
macro_rules! receipt {
    ($row:ident) => {
        $crate::stream::Receipt {
            room_nid: ::types::RoomNid($row.room_nid),
            user_id: $crate::rows::id($row.user_id)?,
            receipt_type: $row.receipt_type,
            thread_id: $row.thread_id,
            event_id: $crate::rows::id($row.event_id)?,
            event_order: $row.event_order.map(::types::HistoryOrder),
            ts: $row.ts,
        }
    };
}
pub(crate) use receipt;

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
    pub content: Arc<str>,
    /// The request that sends it; none of a message that is stored already.
    pub transaction: Option<Arc<ToDeviceTransaction>>,
}

/// A row of `outgoing_to_device`.
#[derive(Clone, Debug)]
pub struct OutgoingToDevice {
    /// The server of the users for whom the messages are.
    pub server_name: OwnedServerName,
    /// From whom.
    pub sender: OwnedUserId,
    /// The event type.
    pub event_type: String,
    /// Contents by user and device, a JSON object.
    pub messages: Arc<str>,
    /// The request that sends them; none of messages that are stored already.
    pub transaction: Option<Arc<ToDeviceTransaction>>,
}

/// A request of a device to send messages. It is carried out once; when it is repeated within a day,
/// its messages are not stored again.
#[derive(Debug)]
pub struct ToDeviceTransaction {
    /// The device that sends.
    pub device_id: OwnedDeviceId,
    /// The id that the device gave the request.
    pub transaction_id: OwnedTransactionId,
    /// When, in milliseconds since the epoch.
    pub sent_ts: i64,
}

/// A change that concerns users and not the graph of a room.
#[derive(Clone, Debug)]
pub enum UserChange {
    /// See [`Change::Receipt`].
    Receipt(Receipt),
    /// See [`Change::AccountData`].
    AccountData(AccountData),
    /// See [`Change::ToDevice`].
    ToDevice(ToDevice),
    /// See [`Change::OutgoingToDevice`].
    OutgoingToDevice(OutgoingToDevice),
    /// See [`Change::DeviceList`].
    DeviceList {
        /// Whose.
        user_id: OwnedUserId,
    },
    /// See [`Change::UserSigned`].
    UserSigned {
        /// Who signed; the signature is returned to this user only.
        signer: OwnedUserId,
        /// Whose key.
        user_id: OwnedUserId,
    },
    /// See [`Change::KeyCounts`].
    KeyCounts {
        /// Whose.
        user_id: OwnedUserId,
        /// Which device.
        device_id: OwnedDeviceId,
    },
}

impl From<UserChange> for Change {
    fn from(change: UserChange) -> Self {
        match change {
            UserChange::Receipt(receipt) => Self::Receipt(receipt),
            UserChange::AccountData(data) => Self::AccountData(data),
            UserChange::ToDevice(message) => Self::ToDevice(message),
            UserChange::OutgoingToDevice(messages) => Self::OutgoingToDevice(messages),
            UserChange::DeviceList { user_id } => Self::DeviceList { user_id },
            UserChange::UserSigned { signer, user_id } => Self::UserSigned { signer, user_id },
            UserChange::KeyCounts { user_id, device_id } => Self::KeyCounts { user_id, device_id },
        }
    }
}

/// Changes that concern users, in the order in which they take positions.
#[derive(Clone, Debug, Default)]
pub struct UserChanges(Vec<UserChange>);

impl UserChanges {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one.
    pub fn push(&mut self, change: UserChange) {
        self.0.push(change);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<UserChange> for UserChanges {
    fn from_iter<I: IntoIterator<Item = UserChange>>(changes: I) -> Self {
        Self(changes.into_iter().collect())
    }
}

impl From<UserChanges> for Changes {
    fn from(changes: UserChanges) -> Self {
        Self(changes.0.into_iter().map(Change::from).collect())
    }
}

/// Changes in the order in which they take positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes(Vec<Change>);

impl Changes {
    pub(crate) fn push(&mut self, change: Change) {
        self.0.push(change);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many positions they take.
    pub(crate) fn len(&self) -> usize {
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

/// The rooms whose events or state changed, each once.
pub(crate) fn written_rooms(changes: &[(StreamPosition, Change)]) -> Vec<RoomNid> {
    let rooms = changes.iter().filter_map(|(_, change)| match change {
        Change::Event(change) => Some(change.event.room_nid),
        Change::State(delta) => Some(delta.room_nid),
        Change::PartialState { room_nid, .. } => Some(*room_nid),
        _ => None,
    });
    let rooms: BTreeSet<RoomNid> = rooms.collect();
    rooms.into_iter().collect()
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
