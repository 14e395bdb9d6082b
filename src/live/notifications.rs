//! What a batch of changes causes outside of the cache: notifications of subscribers, and messages
//! to other processes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use storage::{Database, Message};
use types::RoomNid;

use crate::{cache::LiveCache, user::LastChanged};

/// The subscribers to notify, each once, after the lock on the cache is released; and the messages
/// to publish before.
#[derive(Debug, Default)]
pub(crate) struct Notifications {
    subscribers: BTreeMap<usize, Arc<LastChanged>>,
    messages: Vec<Message>,
    /// Whether the whole state of a room became known.
    pub(crate) completed_states: bool,
}

impl Notifications {
    pub(crate) fn add(&mut self, last_changed: &Arc<LastChanged>) {
        self.subscribers
            .entry(Arc::as_ptr(last_changed).addr())
            .or_insert_with(|| last_changed.clone());
    }

    /// Records a change for every cached member of a room, and adds them.
    pub(crate) fn add_members(
        &mut self,
        cache: &LiveCache,
        room_nid: RoomNid,
        record: impl Fn(&LastChanged),
    ) {
        for last_changed in cache
            .joined
            .get(&room_nid)
            .into_iter()
            .flat_map(HashMap::values)
        {
            record(last_changed);
            self.add(last_changed);
        }
    }

    /// Adds a message to the other processes.
    pub(crate) fn announce(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Publishes the messages; the lock on the cache is held, so that they are published in the
    /// order of the changes.
    pub(crate) fn publish(&mut self, database: &Database) {
        for message in self.messages.drain(..) {
            database.publish(message);
        }
    }

    pub(crate) fn notify(self) {
        debug_assert!(self.messages.is_empty(), "messages are published before");
        for last_changed in self.subscribers.into_values() {
            last_changed.notify.notify_waiters();
        }
    }
}
