//! Pins that keep rooms in the cache while a reader needs them.

use std::collections::HashSet;

use types::RoomNid;

use crate::{Live, cache::LiveCache};

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
    pub(crate) fn forget(
        &mut self,
        cache: &LiveCache,
        room_nids: impl IntoIterator<Item = RoomNid>,
    ) {
        for room_nid in room_nids {
            if !cache.rooms.contains_key(&room_nid) {
                self.rooms.remove(&room_nid);
            }
        }
    }

    /// Pins a room, if it is cached.
    pub(crate) fn pin(&mut self, cache: &mut LiveCache, room_nid: RoomNid) {
        if let Some(entry) = cache.rooms.get_mut(&room_nid)
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
        let mut cache = self.live.0.cache.write();
        for room_nid in &self.rooms {
            if let Some(entry) = cache.rooms.get_mut(room_nid) {
                entry.pins = entry.pins.saturating_sub(1);
            }
        }
        cache.evict(self.live.0.budget);
    }
}
