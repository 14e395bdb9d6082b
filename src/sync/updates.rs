//! The collected updates for a device: what a response says, independent of its format.

use std::{borrow::Cow, sync::Arc};

use event::Pdu;
use live::{Aggregations, MemberCounts, PresenceUpdate, TimelineEvent, UnreadCounts, UserVisibility};
use ruma::{RoomId, UserId};
use storage::{
    device_lists::DeviceListChanges,
    one_time_keys::KeyCounts,
    stream::{Receipt, ToDevice},
};
use types::{HistoryOrder, SyncToken};

/// All that is new for a device.
#[derive(Debug)]
pub(crate) struct SyncUpdates<'a> {
    /// The token from which the next request continues.
    pub(crate) next: SyncToken,
    /// Global account data that changed: type and content.
    pub(crate) account_data: Vec<(&'a str, Cow<'a, str>)>,
    pub(crate) to_device: Vec<ToDevice>,
    pub(crate) presence: Vec<PresenceUpdate>,
    pub(crate) device_lists: DeviceListChanges,
    /// The key counts of the device, changed or not.
    pub(crate) key_counts: Arc<KeyCounts>,
    pub(crate) key_counts_changed: bool,
    pub(crate) rooms: Vec<RoomUpdate<'a>>,
    /// Of the events of the timelines.
    pub(crate) aggregations: Aggregations,
}

impl SyncUpdates<'_> {
    /// Whether there is anything that ends a wait.
    pub(crate) fn has_changes(&self) -> bool {
        self.key_counts_changed
            || !self.account_data.is_empty()
            || !self.to_device.is_empty()
            || !self.presence.is_empty()
            || !self.device_lists.changed.is_empty()
            || !self.device_lists.left.is_empty()
            || !self.rooms.is_empty()
    }
}

/// What is new in a room.
#[derive(Debug)]
pub(crate) struct RoomUpdate<'a> {
    pub(crate) room_id: &'a RoomId,
    pub(crate) change: RoomChange<'a>,
}

/// What is new in a room, by the user's membership.
#[derive(Debug)]
pub(crate) enum RoomChange<'a> {
    Joined(Box<JoinedRoom<'a>>),
    /// A joined room of which only account data changed.
    AccountData(Vec<(&'a str, &'a str)>),
    Invited(StrippedState<'a>),
    Knocked(StrippedState<'a>),
    Left(LeftRoom<'a>),
}

/// A joined room.
#[derive(Debug)]
pub(crate) struct JoinedRoom<'a> {
    /// If it may have changed.
    pub(crate) summary: Option<Summary<'a>>,
    pub(crate) state: Vec<Arc<Pdu>>,
    pub(crate) timeline: TimelineUpdate,
    /// The users who type, if they changed.
    pub(crate) typing: Option<Vec<&'a UserId>>,
    /// The receipts that changed.
    pub(crate) receipts: Vec<&'a Receipt>,
    /// The account data that changed: type and content.
    pub(crate) account_data: Vec<(&'a str, &'a str)>,
    pub(crate) unread: Option<Arc<UnreadCounts>>,
}

/// A room that the user left or was banned from.
#[derive(Debug)]
pub(crate) struct LeftRoom<'a> {
    pub(crate) state: Vec<Arc<Pdu>>,
    pub(crate) timeline: TimelineUpdate,
    pub(crate) account_data: Vec<(&'a str, &'a str)>,
}

/// The stripped state of a room that the user is not in.
#[derive(Debug)]
pub(crate) struct StrippedState<'a>(pub(crate) Vec<&'a Arc<Pdu>>);

/// Member counts, and heroes if the room has no name.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub(crate) heroes: Option<Vec<&'a UserId>>,
    pub(crate) counts: MemberCounts,
}

/// The last events of a room, oldest first.
#[derive(Debug)]
pub(crate) struct TimelineUpdate {
    pub(crate) events: Vec<Arc<TimelineEvent>>,
    /// Whether events before them are left out that the client does not have.
    pub(crate) limited: bool,
    /// The place from which the events before them are paged.
    pub(crate) prev: HistoryOrder,
    /// `None` if the user was joined all the time.
    pub(crate) visibility: Option<UserVisibility>,
}

impl TimelineUpdate {
    /// The user's membership at an event.
    pub(crate) fn membership_at(&self, timeline_event: &TimelineEvent) -> &str {
        let order = timeline_event.event().history_order;
        let visibility = self.visibility.as_ref();
        visibility.map_or("join", |visibility| visibility.membership_at(order))
    }
}
