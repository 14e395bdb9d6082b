//! Whom the changes of a part of the stream may notify.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use live::TimelineEvent;
use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use storage::{Change, StoredEvent};
use types::{RoomNid, StreamPosition};

use crate::{Error, Push, users::PusherUsers};

const MEMBER: &str = "m.room.member";

/// What happened for a user who has a pusher.
#[derive(Debug, Default)]
pub(crate) struct UserChanges {
    /// Events that may notify the user, in order.
    pub(crate) events: Vec<Arc<TimelineEvent>>,
    /// The rooms in which something happened.
    pub(crate) rooms: HashSet<RoomNid>,
    /// Whether there may be fewer unread notifications than before.
    pub(crate) may_fall: bool,
    /// Whether the notifications of all rooms have to be counted anew.
    pub(crate) has_new_settings: bool,
}

/// What happened, by user.
pub(crate) type ChangesByUser = HashMap<OwnedUserId, UserChanges>;

impl Push {
    /// Finds the users with pushers whom changes may concern. Needs no statement for rooms in memory.
    pub(crate) async fn by_user(
        &self,
        changes: Vec<(StreamPosition, Change)>,
    ) -> Result<ChangesByUser, Error> {
        let mut by_user = ChangesByUser::new();
        for (_, change) in changes {
            match change {
                Change::Event(change) if change.event.is_accepted() => {
                    self.add_event(&mut by_user, change.event).await?;
                }
                Change::Receipt(receipt)
                    if matches!(&*receipt.receipt_type, "m.read" | "m.read.private") =>
                {
                    self.add_reader(&mut by_user, &receipt.user_id, receipt.room_nid);
                }
                Change::AccountData(data)
                    if data.room_nid.is_none()
                        && matches!(&*data.event_type, "m.push_rules" | "m.ignored_user_list")
                        && self.has_pusher(data.user_id.as_str()) =>
                {
                    let changes = by_user.entry(data.user_id).or_default();
                    changes.may_fall = true;
                    changes.has_new_settings = true;
                }
                _ => {}
            }
        }
        Ok(by_user)
    }

    async fn add_event(
        &self,
        by_user: &mut ChangesByUser,
        event: StoredEvent,
    ) -> Result<(), Error> {
        let (pdu, room_nid) = (event.pdu.clone(), event.room_nid);
        let member = pdu.state_key().filter(|_| pdu.event_type() == MEMBER);
        // Who sends something has read what was before; a change of name says nothing of that.
        if !pdu.is_state() {
            self.add_reader(by_user, pdu.sender(), room_nid);
        }
        let member = member.and_then(|member| <&UserId>::try_from(member).ok());
        let leaves = matches!(
            pdu.membership(),
            Some(MembershipState::Leave | MembershipState::Ban)
        );
        if let Some(member) = member.filter(|_| leaves) {
            self.add_reader(by_user, member, room_nid);
        }
        let mut users = self.members_with_pushers(&pdu).await?;
        if let Some(member) = member
            && self.has_pusher(member.as_str())
        {
            users.insert(member.to_owned());
        }
        users.remove(pdu.sender());
        if users.is_empty() {
            return Ok(());
        }
        let event = Arc::new(TimelineEvent::new(event));
        for user_id in users {
            let changes = by_user.entry(user_id).or_default();
            changes.events.push(Arc::clone(&event));
            changes.rooms.insert(room_nid);
        }
        Ok(())
    }

    /// The joined members of an event's room who have pushers. The smaller of the two sets is gone
    /// through.
    async fn members_with_pushers(&self, pdu: &event::Pdu) -> Result<HashSet<OwnedUserId>, Error> {
        let Some(state) = self.0.live.room_state(pdu.room_id()).await? else {
            return Ok(HashSet::new());
        };
        let users = self.0.users.lock();
        let is_joined = |user_id: &str| {
            let member = state.members().get(user_id);
            member.is_some_and(|member| member.membership() == MembershipState::Join)
        };
        if users.len() < state.members().len() {
            let members = users.iter().filter(|user_id| is_joined(user_id));
            Ok(user_ids(members))
        } else {
            Ok(user_ids(members_in(&users, state.members().iter())))
        }
    }

    /// Notes that a user may have read something in a room.
    fn add_reader(&self, by_user: &mut ChangesByUser, user_id: &UserId, room_nid: RoomNid) {
        // Where nothing was unread, nothing can have been read.
        let badge = self.0.badges.get(user_id);
        if badge.is_some_and(|badge| badge.of_room(room_nid) == 0) {
            return;
        }
        if self.has_pusher(user_id.as_str()) {
            let changes = by_user.entry(user_id.to_owned()).or_default();
            changes.may_fall = true;
            changes.rooms.insert(room_nid);
        }
    }

    fn has_pusher(&self, user_id: &str) -> bool {
        self.0.users.lock().contains(user_id)
    }
}

/// The joined members among the users.
fn members_in<'m>(
    users: &PusherUsers,
    members: impl Iterator<Item = (&'m str, &'m live::Member)>,
) -> impl Iterator<Item = &'m str> {
    members
        .filter(|(user_id, member)| {
            users.contains(user_id) && member.membership() == MembershipState::Join
        })
        .map(|(user_id, _)| user_id)
}

fn user_ids<'u>(users: impl Iterator<Item = &'u str>) -> HashSet<OwnedUserId> {
    users
        .filter_map(|user_id| user_id.to_owned().try_into().ok())
        .collect()
}
