//! When and from where devices called: kept in memory, written now and then.

use std::{collections::HashMap, net::IpAddr};

use parking_lot::Mutex;
use ruma::{OwnedDeviceId, OwnedUserId};
use storage::devices::LastSeen;

use crate::{ActiveUser, Identity, Result};

/// Rows that one statement writes.
const BATCH: usize = 1000;

/// The last call of each device since the last write; losing some is no harm.
#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<HashMap<(OwnedUserId, OwnedDeviceId), (i64, IpAddr)>>);

impl Sightings {
    pub(crate) fn note(&self, user: &ActiveUser, address: IpAddr, now: i64) {
        let device = (user.user_id.clone(), user.device_id.clone());
        self.0.lock().insert(device, (now, address));
    }

    /// The last call of one device, if it is not written yet.
    pub(crate) fn of_device(
        &self,
        user_id: &OwnedUserId,
        device_id: &OwnedDeviceId,
    ) -> Option<(i64, IpAddr)> {
        let device = (user_id.clone(), device_id.clone());
        self.0.lock().get(&device).copied()
    }

    fn take(&self) -> Vec<LastSeen> {
        let taken = std::mem::take(&mut *self.0.lock());
        let mut sightings: Vec<LastSeen> = taken
            .into_iter()
            .map(|((user_id, device_id), (ts, address))| LastSeen {
                user_id,
                device_id,
                ts,
                ip: address.to_string(),
            })
            .collect();
        // One order for all processes, so that their updates cannot wait for each other in a circle.
        sightings.sort_by(|a, b| (&a.user_id, &a.device_id).cmp(&(&b.user_id, &b.device_id)));
        sightings
    }
}

impl Identity {
    /// Writes down when and from where devices called.
    pub(crate) async fn write_sightings(&self) -> Result<()> {
        let sightings = self.0.sightings.take();
        if sightings.is_empty() {
            return Ok(());
        }
        let mut db = self.0.database.acquire().await?;
        for batch in sightings.chunks(BATCH) {
            storage::devices::record_last_seen(&mut db, batch).await?;
        }
        Ok(())
    }
}
