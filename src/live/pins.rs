//! Pins that keep rooms in the cache while a reader needs them.

use std::collections::HashSet;

use types::RoomNid;

use crate::{Live, memory::Memory};

/// Pins rooms: they are not evicted while it lives.
#[derive(Debug)]
pub(crate) struct RoomPins {
    live: Live,
    rooms: HashSet<RoomNid>,
}

impl RoomPins {
    pub(crate) fn new(live: &Live) -> Self {
        Self {
            live: live.clone(),
            rooms: HashSet::new(),
        }
    }

    /// Forgets the pins of those of the rooms that are no longer cached.
    pub(crate) fn forget(&mut self, memory: &Memory, room_nids: impl IntoIterator<Item = RoomNid>) {
        for room_nid in room_nids {
            if !memory.rooms.contains_key(&room_nid) {
                self.rooms.remove(&room_nid);
            }
        }
    }

    /// Pins a room, if it is cached.
    pub(crate) fn pin(&mut self, memory: &mut Memory, room_nid: RoomNid) {
        if let Some(entry) = memory.rooms.get_mut(&room_nid)
            && self.rooms.insert(room_nid)
        {
            entry.pins += 1;
        }
    }
}

impl Drop for RoomPins {
    fn drop(&mut self) {
        if self.rooms.is_empty() {
            return;
        }
        let mut memory = self.live.0.memory.write();
        for room_nid in &self.rooms {
            if let Some(entry) = memory.rooms.get_mut(room_nid) {
                entry.pins = entry.pins.saturating_sub(1);
            }
        }
        memory.evict(self.live.0.budget);
    }
}
