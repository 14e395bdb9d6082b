//! Typing users: kept in memory only, expired by one timer for all rooms.
//!
//! Processes announce changes to each other, not repeated requests. The process that served the
//! last request of a user owns the entry; in the others it stays until the owner announces
//! otherwise, or for [`MAX_TYPING`].
//!
//! Spec: client-server, "Typing Notifications".

use std::time::Duration;

use ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use storage::{Message, PeerEvent};
use tokio::time::Instant;
use types::{EphemeralPosition, RoomNid};

use crate::{
    Live,
    memory::Memory,
    notifications::Notifications,
    typing_users::{MAX_TYPING, Stopped, TypingUsers},
};

impl Live {
    /// Sets a user as typing in a room for the given time, or as no longer typing. Returns `false`,
    /// without effect, if the user is not joined to the room.
    pub async fn set_typing(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        typing: Option<Duration>,
    ) -> Result<bool, storage::Error> {
        let subscription = self.subscribe(user_id).await?;
        let now = Instant::now();
        let mut notifications = Notifications::default();
        {
            let mut memory = self.0.memory.write();
            let room = memory
                .users
                .get(user_id)
                .and_then(|entry| entry.user.as_ref()?.room_by_id(room_id));
            let Some(room_nid) = room
                .filter(|room| room.membership == MembershipState::Join)
                .map(|room| room.room_nid)
            else {
                return Ok(false);
            };
            let list = memory.typing.entry(room_nid).or_default();
            let outcome = match typing {
                Some(time) => list.start(user_id, now, now + time.min(MAX_TYPING)),
                None => list.stop(user_id),
            };
            if outcome.is_changed {
                let position = memory.ephemeral.next();
                memory.record_typing_change(room_nid, position, &mut notifications);
            }
            if outcome.must_announce {
                self.announce(&memory, room_nid, user_id, typing.is_some());
            }
        }
        drop(subscription);
        notifications.notify();
        self.0.typing_changed.notify_one();
        Ok(true)
    }

    /// Applies a message of another process.
    pub(crate) fn handle_peer_event(&self, heard: PeerEvent<'_>) {
        let mut notifications = Notifications::default();
        match heard {
            PeerEvent::Message(Message::Typing {
                room_nid,
                user_id,
                is_typing,
                position,
            }) => {
                let mut memory = self.0.memory.write();
                let list = memory.typing.entry(*room_nid).or_default();
                let is_changed = if *is_typing {
                    // The owner announces a user that goes on typing again by then.
                    list.start_elsewhere(user_id, Instant::now() + MAX_TYPING)
                } else {
                    list.stop(user_id).is_changed
                };
                if is_changed {
                    let position = memory.ephemeral.next_after(*position);
                    memory.record_typing_change(*room_nid, position, &mut notifications);
                }
            }
            PeerEvent::Message(Message::RequestTyping) => {
                let memory = self.0.memory.read();
                for (room_nid, list) in &memory.typing {
                    for user_id in list.local() {
                        self.announce(&memory, *room_nid, user_id, true);
                    }
                }
            }
            PeerEvent::Listening => {
                self.0.database.publish(Message::RequestTyping);
                // The others announce again who is still typing.
                let mut memory = self.0.memory.write();
                memory.stop_typing_where(&mut notifications, TypingUsers::stop_elsewhere);
            }
            PeerEvent::Message(_) | PeerEvent::Changes(_) => return,
        }
        notifications.notify();
        self.0.typing_changed.notify_one();
    }

    fn announce(&self, memory: &Memory, room_nid: RoomNid, user_id: &UserId, is_typing: bool) {
        let list = memory.typing.get(&room_nid);
        self.0.database.publish(Message::Typing {
            room_nid,
            user_id: user_id.to_owned(),
            is_typing,
            position: list.map(|list| list.position).unwrap_or_default(),
        });
    }

    /// Removes typing users whose time has expired.
    pub(crate) async fn expire_typing(&self) {
        loop {
            let next = self.0.memory.read().next_expiry();
            let changed = self.0.typing_changed.notified();
            let Some(next) = next else {
                changed.await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = changed => continue,
            }
            let mut notifications = Notifications::default();
            {
                let mut memory = self.0.memory.write();
                let now = Instant::now();
                let stopped = memory.stop_typing_where(&mut notifications, |list| list.expire(now));
                for (room_nid, user_id) in stopped {
                    self.announce(&memory, room_nid, &user_id, false);
                }
            }
            notifications.notify();
        }
    }
}

impl Memory {
    fn record_typing_change(
        &mut self,
        room_nid: RoomNid,
        position: EphemeralPosition,
        notifications: &mut Notifications,
    ) {
        if let Some(list) = self.typing.get_mut(&room_nid) {
            list.position = position;
        }
        notifications.add_members(self, room_nid, |last_changed| {
            last_changed.advance_ephemeral(position);
        });
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.typing
            .values()
            .filter_map(TypingUsers::next_expiry)
            .min()
    }

    /// Removes users from each list by `stop`; returns those to announce.
    fn stop_typing_where(
        &mut self,
        notifications: &mut Notifications,
        stop: impl Fn(&mut TypingUsers) -> Stopped,
    ) -> Vec<(RoomNid, OwnedUserId)> {
        let stopped = |(room_nid, list): (&RoomNid, &mut TypingUsers)| {
            let stopped = stop(list);
            stopped.is_changed.then_some((*room_nid, stopped.local))
        };
        let stopped: Vec<_> = self.typing.iter_mut().filter_map(stopped).collect();
        let mut local = Vec::new();
        for (room_nid, users) in stopped {
            let position = self.ephemeral.next();
            self.record_typing_change(room_nid, position, notifications);
            local.extend(users.into_iter().map(|user_id| (room_nid, user_id)));
        }
        local
    }

    /// Removes a user that left the room; other processes see that in the stream.
    pub(crate) fn stop_typing(
        &mut self,
        room_nid: RoomNid,
        user_id: &UserId,
        notifications: &mut Notifications,
    ) {
        let list = self.typing.get_mut(&room_nid);
        if list.is_some_and(|list| list.stop(user_id).is_changed) {
            let position = self.ephemeral.next();
            self.record_typing_change(room_nid, position, notifications);
        }
    }
}
