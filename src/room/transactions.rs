//! Sending the same transaction twice does it once.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedEventId, OwnedUserId, UserId};
use tokio::sync::OnceCell;
use types::RoomNid;

/// Devices whose transactions are remembered.
const DEVICES: u64 = 20_000;
/// Transactions of a device that are remembered; clients repeat only their latest.
const REMEMBERED: usize = 256;

/// One transaction: the room, the event type, and what tells it from others of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) room_nid: RoomNid,
    pub(crate) kind: String,
    pub(crate) id: String,
}

/// The event that a transaction made, once it is durable; whoever repeats it meanwhile waits.
pub(crate) type Outcome = Arc<OnceCell<OwnedEventId>>;

/// What devices have sent lately.
#[derive(Debug)]
pub(crate) struct Transactions(Cache<(OwnedUserId, OwnedDeviceId), Arc<Mutex<Device>>>);

#[derive(Debug, Default)]
struct Device {
    outcomes: HashMap<Key, Outcome>,
    oldest_first: VecDeque<Key>,
}

impl Device {
    fn outcome(&mut self, key: Key) -> Outcome {
        if let Some(outcome) = self.outcomes.get(&key) {
            return outcome.clone();
        }
        if self.oldest_first.len() >= REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.outcomes.remove(&oldest);
        }
        self.oldest_first.push_back(key.clone());
        self.outcomes.entry(key).or_default().clone()
    }
}

impl Transactions {
    pub(crate) fn new() -> Self {
        Self(Cache::new(DEVICES))
    }

    /// The outcome of a transaction, as far as it passed through here lately. The database knows of
    /// all: it lets none make a second event.
    pub(crate) fn outcome(&self, user_id: &UserId, device_id: &DeviceId, key: Key) -> Outcome {
        let device = self
            .0
            .get_with((user_id.to_owned(), device_id.to_owned()), Arc::default);
        device.lock().outcome(key)
    }
}
