//! The notifications that a batch of changes causes; sent after the lock on the cache is released.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use types::RoomNid;

use crate::{memory::Memory, user::LastChanged};

/// The subscribers to notify, each once.
#[derive(Debug, Default)]
pub(crate) struct Notifications(BTreeMap<usize, Arc<LastChanged>>);

impl Notifications {
    pub(crate) fn add(&mut self, last_changed: &Arc<LastChanged>) {
        self.0
            .entry(Arc::as_ptr(last_changed).addr())
            .or_insert_with(|| last_changed.clone());
    }

    /// Records a change for every cached member of a room, and adds them.
    pub(crate) fn add_members(
        &mut self,
        memory: &Memory,
        room_nid: RoomNid,
        record: impl Fn(&LastChanged),
    ) {
        for last_changed in memory
            .joined
            .get(&room_nid)
            .into_iter()
            .flat_map(HashMap::values)
        {
            record(last_changed);
            self.add(last_changed);
        }
    }

    pub(crate) fn notify(self) {
        for last_changed in self.0.into_values() {
            last_changed.notify.notify_waiters();
        }
    }
}
