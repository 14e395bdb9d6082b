//! Updates with which servers announce the devices of users who have joined a room.
//!
//! Clients are told of the list with the join. If nobody has asked for the keys since, the announcement
//! that comes after it is no news to them.

use moka::sync::Cache;
use ruma::{OwnedUserId, UserId};
use storage::remote_device_lists::SharedRooms;
use types::StreamPosition;

/// Of how many users it is known that their devices were announced. Of others an announcement is
/// taken for the first one, which nobody notices who has not asked for the keys.
const REMEMBERED: u64 = 10_000;

/// The last joins that were followed by an announcement.
#[derive(Clone, Debug)]
pub(crate) struct Announcements(Cache<OwnedUserId, StreamPosition>);

impl Default for Announcements {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Announcements {
    /// Whether an update is the first one since its user joined a room with users of this server.
    pub(crate) fn is_first(&self, user_id: &UserId, rooms: SharedRooms) -> bool {
        let Some(entered) = rooms.entered else {
            return false;
        };
        if self.0.get(user_id).is_some_and(|known| known >= entered) {
            return false;
        }
        self.0.insert(user_id.to_owned(), entered);
        true
    }
}
