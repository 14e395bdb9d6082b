//! When and from where devices were last seen: buffered in memory, written periodically.

use std::{collections::HashMap, net::IpAddr};

use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use storage::devices::LastSeen;

use crate::{Identity, Result};

/// Rows that one statement writes.
const BATCH: usize = 1000;

/// The last request of each device since the last write, by user; may be lost on a crash.
#[derive(Debug, Default)]
pub(crate) struct LastSeenCache(Mutex<HashMap<OwnedUserId, Devices>>);

type Devices = HashMap<OwnedDeviceId, (i64, IpAddr)>;

impl LastSeenCache {
    pub(crate) fn record(&self, user_id: &UserId, device_id: &DeviceId, address: IpAddr, now: i64) {
        let mut users = self.0.lock();
        if let Some(devices) = users.get_mut(user_id) {
            if let Some(last_seen) = devices.get_mut(device_id) {
                *last_seen = (now, address);
            } else {
                devices.insert(device_id.to_owned(), (now, address));
            }
        } else {
            let devices = HashMap::from([(device_id.to_owned(), (now, address))]);
            users.insert(user_id.to_owned(), devices);
        }
    }

    /// The last request of a device, if it is not written yet.
    pub(crate) fn of_device(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Option<(i64, IpAddr)> {
        self.0.lock().get(user_id)?.get(device_id).copied()
    }

    /// Whether the last request of one of the user's devices, not written yet, came from here.
    pub(crate) fn is_at(&self, user_id: &UserId, address: IpAddr) -> bool {
        let users = self.0.lock();
        let mut devices = users.get(user_id).into_iter().flat_map(HashMap::values);
        devices.any(|(_, last_address)| *last_address == address)
    }

    fn take(&self) -> Vec<LastSeen> {
        let taken = std::mem::take(&mut *self.0.lock());
        let devices = taken.into_iter().flat_map(|(user_id, devices)| {
            devices
                .into_iter()
                .map(move |(device_id, last_seen)| (user_id.clone(), device_id, last_seen))
        });
        let mut last_seen: Vec<LastSeen> = devices
            .map(|(user_id, device_id, (ts, address))| LastSeen {
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
