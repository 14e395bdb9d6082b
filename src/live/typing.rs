//! Who is typing: kept in memory only, forgotten by one timer for all.
//!
//! Spec: client-server, "Typing Notifications".

use std::time::Duration;

use ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use tokio::time::Instant;
use types::{EphemeralPosition, RoomNid};

use crate::{Live, apply::Wakes, memory::Memory};

/// Longer than this nobody types without saying so again.
const LONGEST: Duration = Duration::from_mins(2);

/// Who types in a room, and until when if nothing is heard.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    /// When the list last changed.
    pub(crate) position: EphemeralPosition,
    pub(crate) users: Vec<(OwnedUserId, Instant)>,
}

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
            let users = &mut memory.typing.entry(room_nid).or_default().users;
            let before = users.len();
            users.retain(|(other, _)| other != user_id);
            let was_typing = users.len() < before;
            users.extend(typing.map(|time| (user_id.to_owned(), now + time.min(LONGEST))));
            if was_typing != typing.is_some() {
                memory.announce_typing(room_nid, &mut wakes);
            }
        }
        drop(watch);
        wakes.wake();
        self.0.typing_changed.notify_one();
        Ok(true)
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
            self.0.memory.write().expire(Instant::now(), &mut wakes);
            wakes.wake();
        }
    }
}

impl Memory {
    fn announce_typing(&mut self, room_nid: RoomNid, wakes: &mut Wakes) {
        self.ephemeral.0 += 1;
        let position = self.ephemeral;
        if let Some(typing) = self.typing.get_mut(&room_nid) {
            typing.position = position;
        }
        wakes.add_members(self, room_nid, |marks| marks.change_ephemeral(position));
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.typing
            .values()
            .flat_map(|typing| &typing.users)
            .map(|(_, until)| *until)
            .min()
    }

    fn expire(&mut self, now: Instant, wakes: &mut Wakes) {
        let expired: Vec<RoomNid> = self
            .typing
            .iter_mut()
            .filter_map(|(room_nid, typing)| {
                let before = typing.users.len();
                typing.users.retain(|(_, until)| *until > now);
                (typing.users.len() < before).then_some(*room_nid)
            })
            .collect();
        for room_nid in expired {
            self.announce_typing(room_nid, wakes);
        }
    }

    /// A user who leaves a room types there no longer.
    pub(crate) fn stop_typing(&mut self, room_nid: RoomNid, user_id: &UserId, wakes: &mut Wakes) {
        let Some(typing) = self.typing.get_mut(&room_nid) else {
            return;
        };
        let before = typing.users.len();
        typing.users.retain(|(other, _)| other != user_id);
        if typing.users.len() < before {
            self.announce_typing(room_nid, wakes);
        }
    }
}
