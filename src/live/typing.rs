//! Who is typing: kept in memory only, forgotten by one timer for all.
//!
//! Processes tell each other when a list changes, not when somebody goes on typing. The process
//! that heard of a user last looks after the user's entry; with the others it stays until that one
//! says otherwise, or nothing for long.
//!
//! Spec: client-server, "Typing Notifications".

use std::time::Duration;

use ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use storage::{Message, PeerEvent};
use tokio::time::Instant;
use types::{EphemeralPosition, RoomNid};

use crate::{Live, apply::Wakes, memory::Memory};

mod list;

pub(crate) use list::Typing;

/// Longer than this nobody types without saying so again.
const LONGEST: Duration = Duration::from_mins(2);

impl Live {
    /// Notes that a member of a room types for the given time, or has stopped. Returns `false`,
    /// and does nothing, when the user is not joined to the room.
    pub async fn set_typing(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        typing: Option<Duration>,
    ) -> Result<bool, storage::Error> {
        let watch = self.watch(user_id).await?;
        let now = Instant::now();
        let mut wakes = Wakes::default();
        {
            let mut memory = self.0.memory.write();
            let room = memory
                .users
                .get(user_id)
                .and_then(|slot| slot.user.as_ref()?.room_by_id(room_id));
            let Some(room_nid) = room
                .filter(|room| room.membership == MembershipState::Join)
                .map(|room| room.room_nid)
            else {
                return Ok(false);
            };
            let list = memory.typing.entry(room_nid).or_default();
            let outcome = match typing {
                Some(time) => list.begin(user_id, now, now + time.min(LONGEST)),
                None => list.end(user_id),
            };
            if outcome.is_changed {
                let position = memory.ephemeral.next();
                memory.announce_typing(room_nid, position, &mut wakes);
            }
            if outcome.is_worth_telling {
                self.tell(&memory, room_nid, user_id, typing.is_some());
            }
        }
        drop(watch);
        wakes.wake();
        self.0.typing_changed.notify_one();
        Ok(true)
    }

    /// Takes note of what other processes say.
    pub(crate) fn hear(&self, heard: PeerEvent<'_>) {
        let mut wakes = Wakes::default();
        match heard {
            PeerEvent::Message(Message::Typing {
                room_nid,
                user_id,
                is_typing: types,
                position,
            }) => {
                let mut memory = self.0.memory.write();
                let list = memory.typing.entry(*room_nid).or_default();
                let is_changed = if *types {
                    // Whoever types for longest is told of again by then.
                    list.begin_elsewhere(user_id, Instant::now() + LONGEST)
                } else {
                    list.end(user_id).is_changed
                };
                if is_changed {
                    let position = memory.ephemeral.next_after(*position);
                    memory.announce_typing(*room_nid, position, &mut wakes);
                }
            }
            PeerEvent::Message(Message::RequestTyping) => {
                let memory = self.0.memory.read();
                for (room_nid, list) in &memory.typing {
                    for user_id in list.ours() {
                        self.tell(&memory, *room_nid, user_id, true);
                    }
                }
            }
            PeerEvent::Listening => {
                self.0.database.publish(Message::RequestTyping);
                // Who still types is told again.
                let mut memory = self.0.memory.write();
                memory.end_typing(&mut wakes, Typing::end_elsewhere);
            }
            PeerEvent::Message(_) | PeerEvent::Changes(_) => return,
        }
        wakes.wake();
        self.0.typing_changed.notify_one();
    }

    fn tell(&self, memory: &Memory, room_nid: RoomNid, user_id: &UserId, types: bool) {
        let list = memory.typing.get(&room_nid);
        self.0.database.publish(Message::Typing {
            room_nid,
            user_id: user_id.to_owned(),
            is_typing: types,
            position: list.map(|list| list.position).unwrap_or_default(),
        });
    }

    /// Stops the typing of those of whom nothing was heard in time.
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
            let mut wakes = Wakes::default();
            {
                let mut memory = self.0.memory.write();
                let now = Instant::now();
                let ended = memory.end_typing(&mut wakes, |list| list.expire(now));
                for (room_nid, user_id) in ended {
                    self.tell(&memory, room_nid, &user_id, false);
                }
            }
            wakes.wake();
        }
    }
}

impl Memory {
    fn announce_typing(
        &mut self,
        room_nid: RoomNid,
        position: EphemeralPosition,
        wakes: &mut Wakes,
    ) {
        if let Some(list) = self.typing.get_mut(&room_nid) {
            list.position = position;
        }
        wakes.add_members(self, room_nid, |marks| marks.change_ephemeral(position));
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.typing.values().filter_map(Typing::next_expiry).min()
    }

    /// Has `end` take users off each list; returns those that others must be told of.
    fn end_typing(
        &mut self,
        wakes: &mut Wakes,
        end: impl Fn(&mut Typing) -> list::Ended,
    ) -> Vec<(RoomNid, OwnedUserId)> {
        let ended = |(room_nid, list): (&RoomNid, &mut Typing)| {
            let ended = end(list);
            ended.is_changed.then_some((*room_nid, ended.ours))
        };
        let ended: Vec<_> = self.typing.iter_mut().filter_map(ended).collect();
        let mut ours = Vec::new();
        for (room_nid, users) in ended {
            let position = self.ephemeral.next();
            self.announce_typing(room_nid, position, wakes);
            ours.extend(users.into_iter().map(|user_id| (room_nid, user_id)));
        }
        ours
    }

    /// A user who leaves a room types there no longer; other processes learn that by the stream.
    pub(crate) fn stop_typing(&mut self, room_nid: RoomNid, user_id: &UserId, wakes: &mut Wakes) {
        let list = self.typing.get_mut(&room_nid);
        if list.is_some_and(|list| list.end(user_id).is_changed) {
            let position = self.ephemeral.next();
            self.announce_typing(room_nid, position, wakes);
        }
    }
}
