//! The collected updates for a device: what a response says, independent of its format.

use std::{borrow::Cow, sync::Arc};

use event::Pdu;
use live::{
    Aggregations, MemberCounts, PresenceUpdate, Room, TimelineEvent, UnreadCounts, UserVisibility,
};
use ruma::{RoomId, UserId};
use storage::{
    device_lists::DeviceListChanges,
    one_time_keys::KeyCounts,
    stream::{Receipt, ToDevice},
};
use types::{HistoryOrder, RoomNid, SyncToken};

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
    /// The key counts of the device, changed or not, if they are asked for.
    pub(crate) key_counts: Option<Arc<KeyCounts>>,
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
    pub(crate) room_nid: RoomNid,
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
    pub(crate) room: &'a Room,
    /// Whether the client has no data of the room.
    pub(crate) is_initial: bool,
    pub(crate) changed: RoomChanges,
    /// Whether the user has read further.
    pub(crate) has_own_receipts: bool,
    /// The member events of the heroes, as far as they were asked for.
    pub(crate) hero_members: Vec<Arc<Pdu>>,
    /// If it may have changed.
    pub(crate) summary: Option<Summary<'a>>,
    pub(crate) state: Vec<Arc<Pdu>>,
    /// The types and state keys that have no event any more, of those that are required.
    pub(crate) removed_state: Vec<(String, String)>,
    pub(crate) timeline: TimelineUpdate,
    /// The users who type, if they changed.
    pub(crate) typing: Option<Vec<&'a UserId>>,
    /// The receipts that changed.
    pub(crate) receipts: Vec<&'a Receipt>,
    /// The account data that changed: type and content.
    pub(crate) account_data: Vec<(&'a str, &'a str)>,
    pub(crate) unread: Option<Arc<UnreadCounts>>,
}

/// Which of what clients are told of a room beside its events changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoomChanges {
    pub(crate) name: bool,
    pub(crate) avatar: bool,
    /// State that the client was sent, but that is not required any more.
    pub(crate) left_required: bool,
}

/// A room that the user left or was banned from.
#[derive(Debug)]
pub(crate) struct LeftRoom<'a> {
    /// Whether the client has no data of the room.
    pub(crate) is_initial: bool,
    /// Whether the user was never joined, only invited or knocked.
    pub(crate) never_joined: bool,
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
