//! Locks of rooms within this process, for what talks to other servers and must not do so twice.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};

/// A lock for each room, as long as somebody holds it or waits for it.
#[derive(Debug, Default)]
pub(crate) struct RoomLocks(Mutex<HashMap<OwnedRoomId, Weak<tokio::sync::Mutex<()>>>>);

impl RoomLocks {
    /// The lock of a room.
    pub(crate) fn of(&self, room_id: &RoomId) -> Arc<tokio::sync::Mutex<()>> {
        let mut rooms = self.0.lock();
        if let Some(lock) = rooms.get(room_id).and_then(Weak::upgrade) {
            return lock;
        }
        rooms.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        rooms.insert(room_id.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
