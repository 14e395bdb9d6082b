//! Idempotent client transactions.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedEventId, OwnedUserId, UserId};
use tokio::sync::OnceCell;
use types::RoomNid;

/// Senders whose transactions are remembered.
const SENDERS: u64 = 20_000;
/// Transactions of a sender that are remembered; clients repeat only their latest.
const REMEMBERED: usize = 256;

/// A transaction: the room, the event type, and the key among those.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) room_nid: RoomNid,
    pub(crate) event_type: String,
    pub(crate) id: String,
}

/// The event that a transaction created, once it is durable; repeated requests wait for it.
pub(crate) type TransactionResult = Arc<OnceCell<OwnedEventId>>;

/// The recent transactions of senders: users with the device, or without one.
#[derive(Debug)]
pub(crate) struct Transactions(Cache<(OwnedUserId, Option<OwnedDeviceId>), Arc<Mutex<Results>>>);

#[derive(Debug, Default)]
struct Results {
    results: HashMap<Key, TransactionResult>,
    oldest_first: VecDeque<Key>,
}

impl Results {
    fn result_of(&mut self, key: Key) -> TransactionResult {
        if let Some(result) = self.results.get(&key) {
            return result.clone();
        }
        if self.oldest_first.len() >= REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.results.remove(&oldest);
        }
        self.oldest_first.push_back(key.clone());
        self.results.entry(key).or_default().clone()
    }
}

impl Transactions {
    pub(crate) fn new() -> Self {
        Self(Cache::new(SENDERS))
    }

    /// The result of a transaction, as far as it passed through here lately. The database knows of
    /// all: it lets none make a second event.
    pub(crate) fn result_of(
        &self,
        user_id: &UserId,
        device_id: Option<&DeviceId>,
        key: Key,
    ) -> TransactionResult {
        let sender = (user_id.to_owned(), device_id.map(ToOwned::to_owned));
        let results = self.0.get_with(sender, Arc::default);
        results.lock().result_of(key)
    }
}
