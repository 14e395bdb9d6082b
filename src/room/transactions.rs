//! Sending the same transaction twice does it once.

use std::{collections::HashMap, sync::Arc};

use moka::future::Cache;
use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedEventId, OwnedUserId, UserId};
use storage::{Database, events};
use tokio::sync::OnceCell;
use types::RoomNid;

use crate::Error;

/// Devices whose transactions are remembered.
const DEVICES: u64 = 20_000;
/// Transactions of a device that are read when it first sends.
const REMEMBERED: i64 = 200;

/// One transaction: the endpoint (room and event type) and the client's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) room_nid: RoomNid,
    pub(crate) kind: String,
    pub(crate) id: String,
}

/// The event that a transaction made, once it is durable; whoever repeats it meanwhile waits.
pub(crate) type Outcome = Arc<OnceCell<OwnedEventId>>;

type Device = Arc<Mutex<HashMap<Key, Outcome>>>;

/// What devices have sent lately.
#[derive(Debug)]
pub(crate) struct Transactions(Cache<(OwnedUserId, OwnedDeviceId), Device>);

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
                let sent = events::sent_by(&mut db, user_id, device_id, REMEMBERED).await?;
                let known = sent.into_iter().filter_map(|event| {
                    let key = Key {
                        room_nid: event.room_nid,
                        kind: event.pdu.kind().to_owned(),
                        id: event.transaction?.id,
                    };
                    Some((
                        key,
                        Arc::new(OnceCell::from(event.pdu.event_id().to_owned())),
                    ))
                });
                Ok::<Device, storage::Error>(Arc::new(Mutex::new(known.collect())))
            })
            .await
            .map_err(|error: Arc<storage::Error>| storage::CommitError::Failed(error))?;
        Ok(device.lock().entry(key).or_default().clone())
    }
}
