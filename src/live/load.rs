//! Reading users and rooms into memory while the stream moves on.
//!
//! What is read stands at the position of a snapshot. Changes that are applied meanwhile are kept,
//! and what came after the snapshot is caught up with before the entry takes its place.

use std::collections::{HashMap, btree_map::Entry};

use ruma::{OwnedRoomId, UserId};
use storage::{Error, StoredEvent, account_data, events, memberships, receipts, stream};
use types::{RoomNid, StreamPosition};

use crate::{
    Live,
    apply::{catch_up_rooms, catch_up_user},
    look::Pins,
    memory::Memory,
    room::Room,
    user::User,
};

/// Events that are read with a room.
const RECENT: usize = 24;

/// While it lives, what is applied after its beginning is kept for the one who reads.
struct Load<'a> {
    live: &'a Live,
    from: StreamPosition,
}

impl<'a> Load<'a> {
    fn begin(live: &'a Live) -> Self {
        let mut memory = live.0.memory.write();
        let from = memory.position;
        *memory.loads.entry(from).or_default() += 1;
        Self { live, from }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        let mut memory = self.live.0.memory.write();
        if let Entry::Occupied(mut begun) = memory.loads.entry(self.from) {
            *begun.get_mut() -= 1;
            if *begun.get() == 0 {
                begun.remove();
            }
        }
        // What the others need begins where the first of them did.
        let first = memory.loads.first_key_value().map(|(from, _)| *from);
        let passed = first.map_or(memory.log.len(), |first| {
            memory.log.partition_point(|stretch| stretch.until <= first)
        });
        memory.log.drain(..passed);
    }
}

/// Rooms that this task has undertaken to read; others wait for it.
pub(crate) struct Claim<'a> {
    live: &'a Live,
    rooms: Vec<(RoomNid, OwnedRoomId)>,
}

impl<'a> Claim<'a> {
    /// Claims those of the rooms that nobody else is reading.
    pub(crate) fn new(
        live: &'a Live,
        memory: &mut Memory,
        rooms: Vec<(RoomNid, OwnedRoomId)>,
    ) -> Option<Self> {
        let rooms: Vec<_> = rooms
            .into_iter()
            .filter(|(room_nid, _)| memory.loading.insert(*room_nid))
            .collect();
        // Not `then_some`: an empty claim that is dropped here would lock memory a second time.
        (!rooms.is_empty()).then(|| Self { live, rooms })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut memory = self.live.0.memory.write();
        for (room_nid, _) in &self.rooms {
            memory.loading.remove(room_nid);
        }
        drop(memory);
        self.live.0.rooms_loaded.notify_waiters();
    }
}

impl Live {
    /// Reads a user: three queries.
    pub(crate) async fn load_user(&self, user_id: &UserId) -> Result<(), Error> {
        let load = Load::begin(self);
        let mut db = self.0.database.snapshot().await?;
        let position = stream::position(&mut db).await?;
        let rooms = memberships::of_user(&mut db, user_id).await?;
        let data = account_data::since(&mut db, user_id, StreamPosition(0)).await?;
        db.commit().await?;
        let mut user = User::new(user_id.to_owned(), rooms, data, position);
        {
            let mut memory = self.0.memory.write();
            for stretch in memory.log.clone() {
                for (position, change) in &stretch.changes {
                    catch_up_user(&mut user, *position, change);
                }
            }
            memory.put_user(user);
            if let Some(slot) = memory.users.get(user_id) {
                // What happened before is not known here: look once.
                let seen = position.max(memory.position);
                slot.marks.change(seen);
                slot.marks.change_device_lists(seen);
            }
            memory.evict(self.0.budget);
        }
        drop(load);
        Ok(())
    }

    /// Reads the claimed rooms: four queries for all of them.
    ///
    /// They are held with the pins, so that they stay until the reader has looked.
    pub(crate) async fn load_rooms(&self, claim: Claim<'_>, pins: &mut Pins) -> Result<(), Error> {
        let load = Load::begin(self);
        let room_nids: Vec<RoomNid> = claim.rooms.iter().map(|(room_nid, _)| *room_nid).collect();
        let mut db = self.0.database.snapshot().await?;
        let position = stream::position(&mut db).await?;
        let mut state = by_room(events::current_state(&mut db, &room_nids).await?);
        let until: Vec<_> = room_nids
            .iter()
            .map(|room_nid| (*room_nid, position))
            .collect();
        let mut recent = by_room(events::recent(&mut db, &until, RECENT as i64).await?);
        let mut read = receipts::since(&mut db, &room_nids, StreamPosition(0)).await?;
        db.commit().await?;
        read.sort_by_key(|(position, receipt)| (receipt.room_nid, *position));
        let mut rooms: HashMap<RoomNid, Room> = HashMap::new();
        for room in &claim.rooms {
            let state = state.remove(&room.0).unwrap_or_default();
            let recent = recent.remove(&room.0).unwrap_or_default();
            rooms.insert(
                room.0,
                Room::new(room.clone(), state, recent, RECENT, position),
            );
        }
        for (position, receipt) in read {
            if let Some(room) = rooms.get_mut(&receipt.room_nid) {
                room.receipt(position, receipt);
            }
        }
        {
            let mut memory = self.0.memory.write();
            for stretch in memory.log.clone() {
                for (position, change) in &stretch.changes {
                    catch_up_rooms(&mut rooms, *position, change);
                }
            }
            // One that was taken away is read again by whoever still needs it.
            for room in rooms.into_values() {
                let room_nid = room.nid;
                memory.put_room(room);
                pins.hold(&mut memory, room_nid);
            }
            memory.evict(self.0.budget);
        }
        drop(claim);
        drop(load);
        Ok(())
    }
}

fn by_room(events: Vec<StoredEvent>) -> HashMap<RoomNid, Vec<StoredEvent>> {
    let mut rooms: HashMap<RoomNid, Vec<_>> = HashMap::new();
    for event in events {
        rooms.entry(event.room_nid).or_default().push(event);
    }
    rooms
}
