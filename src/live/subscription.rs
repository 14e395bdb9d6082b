//! The subscription of a request to the changes of a user.

use std::sync::{Arc, atomic::Ordering};

use parking_lot::Mutex;
use ruma::{DeviceId, OwnedUserId, UserId};
use storage::{Error, one_time_keys, one_time_keys::KeyCounts, to_device};
use tokio::sync::futures::Notified;
use types::{StreamPosition, SyncToken};

use crate::{
    Live,
    unread::KnownCounts,
    user::{LastChanged, ToDeviceMark},
};

/// Keeps a user in the cache, and is notified of changes.
#[derive(Debug)]
pub struct Subscription {
    live: Live,
    user_id: OwnedUserId,
    last_changed: Arc<LastChanged>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.last_changed.subscribers.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("chancery_live_subscriptions").decrement(1);
    }
}

impl Live {
    /// Subscribes to the changes of a user; loads the user if not cached.
    pub async fn subscribe(&self, user_id: &UserId) -> Result<Subscription, Error> {
        let (last_changed, is_cached) = {
            let mut cache = self.0.cache.write();
            let used = cache.next_use();
            let entry = cache.users.entry(user_id.to_owned()).or_default();
            entry.last_changed.used.store(used, Ordering::Relaxed);
            entry
                .last_changed
                .subscribers
                .fetch_add(1, Ordering::AcqRel);
            (entry.last_changed.clone(), entry.user.is_some())
        };
        metrics::gauge!("chancery_live_subscriptions").increment(1);
        let subscription = Subscription {
            live: self.clone(),
            user_id: user_id.to_owned(),
            last_changed,
        };
        if !is_cached {
            self.load_user(user_id).await?;
        }
        Ok(subscription)
    }
}

impl Subscription {
    /// The cache.
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// The user.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// Completes at the next change after it is enabled: enable, take a view, then wait.
    pub fn changed(&self) -> Notified<'_> {
        self.last_changed.notify.notified()
    }

    /// Whether anything changed for the user after the token.
    pub fn has_changed_since(&self, since: SyncToken) -> bool {
        self.last_changed.changed() > since.stream
            || self.last_changed.changed_ephemeral() > since.ephemeral
    }

    /// Whether the presence of users that share a room changed after the token.
    pub fn presence_changed_since(&self, since: SyncToken) -> bool {
        self.last_changed.presence() > since.ephemeral
    }

    /// Whether device lists of users that share a room may have changed after the position, or
    /// which users these are.
    pub fn device_lists_changed_since(&self, since: StreamPosition) -> bool {
        // In this order: a change is recorded before it is no longer unresolved.
        self.live.has_unresolved_device_list_since(since)
            || self.last_changed.device_lists() > since
    }

    /// Whether to-device messages may be pending after the position; `true` if not known.
    pub fn has_to_device(&self, device_id: &DeviceId, after: StreamPosition) -> bool {
        let devices = self.last_changed.devices.lock();
        let to_device = devices.get(device_id).and_then(|device| device.to_device);
        to_device
            .is_none_or(|to_device| to_device.first <= to_device.last && to_device.last > after)
    }

    /// Deletes the to-device messages that a device has received: those up to a position.
    ///
    /// No statement if there are none.
    pub async fn acknowledge(
        &self,
        device_id: &DeviceId,
        up_to: StreamPosition,
    ) -> Result<(), Error> {
        let to_device = self
            .last_changed
            .devices
            .lock()
            .get(device_id)
            .and_then(|device| device.to_device);
        if to_device
            .is_some_and(|to_device| to_device.first > to_device.last || to_device.first > up_to)
        {
            return Ok(());
        }
        let mut db = self.live.0.database.acquire().await?;
        to_device::acknowledge(&mut db, &self.user_id, device_id, up_to).await?;
        if let Some(to_device) = self
            .last_changed
            .devices
            .lock()
            .get_mut(device_id)
            .and_then(|device| device.to_device.as_mut())
        {
            to_device.first = to_device.first.max(StreamPosition(up_to.get() + 1));
        }
        Ok(())
    }

    /// Records the first and last pending to-device message up to `until`. Earlier messages were
    /// acknowledged.
    pub fn record_to_device(
        &self,
        device_id: &DeviceId,
        found: Option<(StreamPosition, StreamPosition)>,
        until: StreamPosition,
    ) {
        let mut devices = self.last_changed.devices.lock();
        let device = devices.entry(device_id.to_owned()).or_default();
        let arrival = device.last_to_device;
        device.to_device.get_or_insert_with(|| {
            let (first, last) = found.unwrap_or((StreamPosition(until.get() + 1), until));
            ToDeviceMark {
                first,
                last: last.max(arrival),
            }
        });
    }

    /// The last unread counts of the user.
    pub(crate) fn known_counts(&self) -> &Mutex<KnownCounts> {
        &self.last_changed.unread
    }

    /// Whether the counts of a device's keys are known to have changed after the position.
    pub fn key_counts_changed_since(&self, device_id: &DeviceId, since: StreamPosition) -> bool {
        let devices = self.last_changed.devices.lock();
        devices
            .get(device_id)
            .is_some_and(|device| device.keys_changed > since)
    }

    /// The key counts of a device: read once, then again only after a change.
    pub async fn key_counts(&self, device_id: &DeviceId) -> Result<Arc<KeyCounts>, Error> {
        if let Some(device) = self.last_changed.devices.lock().get(device_id)
            && let Some((read_at, counts)) = &device.keys
            && *read_at >= device.keys_changed
        {
            return Ok(counts.clone());
        }
        // What changes after this invalidates what is read now.
        let read_at = self.live.position();
        let mut db = self.live.0.database.acquire().await?;
        let counts = one_time_keys::counts(&mut db, &self.user_id, device_id).await?;
        let counts = Arc::new(counts);
        let mut devices = self.last_changed.devices.lock();
        devices.entry(device_id.to_owned()).or_default().keys = Some((read_at, counts.clone()));
        Ok(counts)
    }
}
