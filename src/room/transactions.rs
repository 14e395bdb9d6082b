//! Sending the same transaction twice does it once.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use moka::future::Cache;
use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedEventId, OwnedUserId, UserId};
use storage::{Database, events};
use tokio::sync::OnceCell;
use types::RoomNid;

use crate::Error;

/// Devices whose transactions are remembered.
const DEVICES: u64 = 20_000;
/// Transactions of a device that are remembered; clients repeat only their latest.
const REMEMBERED: usize = 256;

/// One transaction: the endpoint (room and event type) and the client's id.
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

    /// The outcome of a transaction, new or old. The database is asked once for each device; from
    /// then on what it sends passes through here.
    pub(crate) async fn outcome(
        &self,
        database: &Database,
        user_id: &UserId,
        device_id: &DeviceId,
        key: Key,
    ) -> Result<Outcome, Error> {
        let device = self
            .0
            .try_get_with((user_id.to_owned(), device_id.to_owned()), async {
                let mut db = database.acquire().await?;
                let sent = events::sent_by(&mut db, user_id, device_id, REMEMBERED as i64).await?;
                let mut device = Device::default();
                for event in sent.into_iter().rev() {
                    let Some(transaction) = event.transaction else {
                        continue;
                    };
                    let outcome = device.outcome(Key {
                        room_nid: event.room_nid,
                        kind: event.pdu.kind().to_owned(),
                        id: transaction.id,
                    });
                    // The first event of a transaction is its outcome.
                    let _later = outcome.set(event.pdu.event_id().to_owned());
                }
                Ok::<_, storage::Error>(Arc::new(Mutex::new(device)))
            })
            .await
            .map_err(|error: Arc<storage::Error>| storage::CommitError::Failed(error))?;
        Ok(device.lock().outcome(key))
    }
}
