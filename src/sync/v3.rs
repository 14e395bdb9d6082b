//! `/v3/sync`: what its requests ask for, and the JSON in which the collected updates are returned.

pub(crate) mod coalesce;
pub(crate) mod ephemeral;
pub(crate) mod event_writer;
pub(crate) mod events;
pub(crate) mod filter;
mod presence;
pub(crate) mod request;
pub(crate) mod rooms;
pub(crate) mod stored_filters;
pub(crate) mod writer;

use ruma::events::room::member::MembershipState;
use storage::memberships::Membership;
use types::SyncToken;

use self::{filter::Filter, request::Request};
use crate::query::{RoomQuery, StateAt, StateQuery, TimelineQuery};

/// What a request asks for.
#[derive(Clone, Copy)]
pub(crate) struct V3Query<'a> {
    pub(crate) request: &'a Request,
    pub(crate) filter: &'a Filter,
    /// The request's token, as far as this process can interpret it.
    pub(crate) since: Option<SyncToken>,
}

impl<'a> V3Query<'a> {
    /// Whether a room is in the response if it changed.
    pub(crate) fn includes(&self, membership: &Membership) -> bool {
        if !self.filter.allows_room(&membership.room_id) {
            return false;
        }
        let is_left = matches!(
            membership.membership,
            MembershipState::Leave | MembershipState::Ban
        );
        // That a room was left is returned even if it is forgotten.
        !is_left || self.is_changed(membership) || self.includes_left(membership)
    }

    fn is_changed(&self, membership: &Membership) -> bool {
        self.since
            .is_some_and(|since| membership.position > since.stream)
    }

    fn includes_left(&self, membership: &Membership) -> bool {
        let is_initial = self.since.is_none();
        // Clients expect an initial sync to say from which rooms the user was kicked or banned.
        let is_included = self.filter.include_leave
            || (is_initial && membership.was_removed(&self.request.user_id));
        is_included && !membership.forgotten
    }

    /// What is asked of a room.
    pub(crate) fn of_room(&self, membership: &Membership) -> Option<RoomQuery<'a>> {
        let (request, filter) = (self.request, self.filter);
        let is_left = matches!(
            membership.membership,
            MembershipState::Leave | MembershipState::Ban
        );
        // A room that was left is returned once, or with all others.
        let is_repeated = self.since.is_none() || request.full_state;
        if !self.includes(membership) || (is_left && !self.is_changed(membership) && !is_repeated) {
            return None;
        }
        let room_id = &membership.room_id;
        let is_in_timeline = filter.timeline.allows_room(room_id);
        let ephemeral = Some(&filter.ephemeral).filter(|filter| filter.allows_room(room_id));
        let has_ephemeral =
            |event_type: &str| ephemeral.is_some_and(|ephemeral| ephemeral.allows_type(event_type));
        Some(RoomQuery {
            since: self.since.map(|since| since.stream),
            timeline: TimelineQuery {
                limit: if is_in_timeline {
                    filter.timeline_limit
                } else {
                    0
                },
                filter: &filter.timeline,
                is_expanded: false,
            },
            state: StateQuery {
                filter: Some(&filter.state).filter(|filter| filter.allows_room(room_id)),
                required: None,
                at: if request.use_state_after {
                    StateAt::TimelineEnd
                } else {
                    StateAt::TimelineStart
                },
                is_full: request.full_state,
                lazy_load_members: filter.lazy_load_members,
            },
            typing: has_ephemeral("m.typing"),
            receipts: has_ephemeral("m.receipt"),
            account_data: Some(&filter.room_account_data)
                .filter(|filter| filter.allows_room(room_id)),
            is_always_told: false,
        })
    }
}
