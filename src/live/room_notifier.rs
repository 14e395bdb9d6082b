//! Which events of a room notify a user, and how.

use ruma::{UserId, events::room::member::MembershipState, push::Action};
use storage::memberships::Membership;
use types::HistoryOrder;

use crate::{
    PushEvaluator, ReadUpTo, Room, Thread, TimelineEvent, View, unread::thread::EventThread,
};

/// Decides on events of a room for one user, with the current rules and the room's current state.
#[derive(Debug)]
pub struct RoomNotifier<'a> {
    room: &'a Room,
    user_id: &'a UserId,
    membership: &'a Membership,
    evaluator: PushEvaluator<'a>,
    read: ReadUpTo,
}

impl View {
    /// What decides on the events of a selected room; `None` unless the user is joined or invited.
    pub fn room_notifier<'a>(&'a self, room: &'a Room) -> Option<RoomNotifier<'a>> {
        let user_id = self.user.user_id();
        let membership = self.user.room(room.room_nid())?;
        let is_member = matches!(
            membership.membership,
            MembershipState::Join | MembershipState::Invite
        );
        let member = self.member(room, user_id).map(|member| &**member);
        is_member.then(|| RoomNotifier {
            room,
            user_id,
            membership,
            evaluator: PushEvaluator::new(&self.user, room, member),
            read: room.read_up_to(user_id, membership.position),
        })
    }
}

impl<'a> RoomNotifier<'a> {
    /// The actions of an event that notifies the user; `None` for one that does not, for what was before
    /// the user joined, and for what was redacted. Of a room that the user is only invited to, the
    /// invitation alone notifies.
    pub fn actions(&mut self, event: &TimelineEvent) -> Option<&'a [Action]> {
        let stored = event.event();
        if stored.redacted_because.is_some() {
            return None;
        }
        if self.membership.membership == MembershipState::Invite {
            if stored.nid != self.membership.event_nid {
                return None;
            }
        } else if order(event) <= HistoryOrder::of(self.membership.position) {
            return None;
        }
        let actions = self.evaluator.actions(event);
        actions.iter().any(Action::should_notify).then_some(actions)
    }

    /// Whether the user has read an event, according to receipts.
    pub fn is_read(&self, event: &TimelineEvent) -> bool {
        if self.membership.membership == MembershipState::Invite {
            return false;
        }
        // What is further away from a thread counts as outside of all.
        let thread = match EventThread::in_room(self.room, event.pdu()) {
            EventThread::Known(thread) => thread,
            EventThread::SameAs(_) => Thread::Main,
        };
        order(event) <= self.read.in_thread(&thread)
    }

    /// The user.
    pub fn user_id(&self) -> &UserId {
        self.user_id
    }
}

/// The place of an event in the history of its room.
fn order(event: &TimelineEvent) -> HistoryOrder {
    let order = event.event().history_order;
    order.unwrap_or_else(|| HistoryOrder::of(event.position()))
}
