//! When and from where devices were last seen: buffered in memory, written periodically.

use std::{collections::HashMap, net::IpAddr};

use parking_lot::Mutex;
use ruma::{OwnedDeviceId, OwnedUserId};
use storage::devices::LastSeen;

use crate::{ActiveUser, Identity, Result};

/// Rows that one statement writes.
const BATCH: usize = 1000;

/// The last request of each device since the last write; may be lost on a crash.
#[derive(Debug, Default)]
pub(crate) struct LastSeenCache(Mutex<HashMap<(OwnedUserId, OwnedDeviceId), (i64, IpAddr)>>);

impl LastSeenCache {
    pub(crate) fn record(&self, user: &ActiveUser, address: IpAddr, now: i64) {
        let device = (user.user_id.clone(), user.device_id.clone());
        self.0.lock().insert(device, (now, address));
    }

    /// The last request of a device, if it is not written yet.
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
        let mut last_seen: Vec<LastSeen> = taken
            .into_iter()
            .map(|((user_id, device_id), (ts, address))| LastSeen {
                user_id,
                device_id,
                ts,
                ip: address.to_string(),
            })
            .collect();
        // One order for all processes, so that their updates cannot deadlock.
        last_seen.sort_by(|a, b| (&a.user_id, &a.device_id).cmp(&(&b.user_id, &b.device_id)));
        last_seen
    }
}

impl Identity {
    /// Writes the buffered timestamps and addresses to the database.
    pub(crate) async fn write_last_seen(&self) -> Result<()> {
        let last_seen = self.0.last_seen.take();
        if last_seen.is_empty() {
            return Ok(());
        }
        let mut db = self.0.database.acquire().await?;
        for batch in last_seen.chunks(BATCH) {
            storage::devices::record_last_seen(&mut db, batch).await?;
        }
        Ok(())
    }
}
