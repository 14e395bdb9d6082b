//! What a client asks for of each room.

use std::sync::Arc;

use event::EventFilter;
use live::Room;
use ruma::events::room::member::MembershipState;
use storage::memberships::Membership;
use types::StreamPosition;

use crate::required_state::Required;

/// What a client asks for.
#[derive(Clone, Copy)]
pub(crate) struct SyncQuery<'a> {
    /// Which global account data; none without a filter.
    pub(crate) account_data: Option<&'a EventFilter>,
    /// Which to-device messages.
    pub(crate) to_device: Option<ToDeviceQuery>,
    /// Whether device lists and key counts.
    pub(crate) encryption: bool,
    /// Whose presence; of nobody without a filter.
    pub(crate) presence: Option<&'a EventFilter>,
    /// What of each room that changed; nothing of those without a query.
    pub(crate) room: &'a (dyn Fn(&Membership) -> Option<RoomQuery<'a>> + Sync),
}

/// Which to-device messages a client asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToDeviceQuery {
    /// The device has received the messages up to here.
    pub(crate) after: StreamPosition,
    /// The most messages.
    pub(crate) limit: usize,
}

/// A room of the view with what is asked of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomRequest<'a> {
    pub(crate) room: &'a Arc<Room>,
    pub(crate) membership: &'a Membership,
    pub(crate) query: RoomQuery<'a>,
}

impl RoomRequest<'_> {
    /// Whether the room is left out until all of its members are known, who are asked for (MSC3902).
    pub(crate) fn is_withheld(&self) -> bool {
        let is_joined = self.membership.membership == MembershipState::Join;
        is_joined && !self.query.state.lazy_load_members && self.room.state().is_partial()
    }

    /// Whether the members became known after the client's token.
    pub(crate) fn is_completed(&self) -> bool {
        let completed_at = self.room.state().completed_at();
        completed_at.is_some_and(|at| at > self.query.after())
    }
}

/// What a client asks for of one room; it may differ from room to room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomQuery<'a> {
    /// The client has what happened in the room up to here; nothing if there is no position.
    pub(crate) since: Option<StreamPosition>,
    pub(crate) timeline: TimelineQuery<'a>,
    pub(crate) state: StateQuery<'a>,
    pub(crate) typing: bool,
    pub(crate) receipts: bool,
    /// Which account data of the room; none without a filter.
    pub(crate) account_data: Option<&'a EventFilter>,
    /// Whether something besides these is to be told of the room, so that there is an update in any case.
    pub(crate) is_always_told: bool,
}

/// Which events of the timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimelineQuery<'a> {
    pub(crate) limit: usize,
    pub(crate) filter: &'a EventFilter,
    /// Whether the last events are wanted even if the client has some of them.
    pub(crate) is_expanded: bool,
}

/// Which state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateQuery<'a> {
    /// Which state events; none without a filter.
    pub(crate) filter: Option<&'a EventFilter>,
    /// Of these, which types and state keys; all of them without a set.
    pub(crate) required: Option<Required<'a>>,
    pub(crate) at: StateAt,
    /// Whether all of the state is wanted where only its changes are new.
    pub(crate) is_full: bool,
    pub(crate) lazy_load_members: bool,
}

/// The point of the timeline at which the state is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateAt {
    /// Before its first event.
    TimelineStart,
    /// After its last event.
    TimelineEnd,
}

impl RoomQuery<'_> {
    /// The client has everything up to here.
    pub(crate) fn after(&self) -> StreamPosition {
        self.since.unwrap_or(StreamPosition::START)
    }
}
