//! A request that looks at a user and may wait for changes.

use std::sync::{Arc, atomic::Ordering};

use ruma::{DeviceId, OwnedUserId, UserId};
use storage::{Error, one_time_keys, one_time_keys::KeyCounts, to_device};
use tokio::sync::futures::Notified;
use types::{RoomNid, StreamPosition, SyncToken};

use crate::{
    Live,
    unread::Tally,
    user::{Mail, Marks},
};

/// Holds a user in memory and hears when something changes for the user.
#[derive(Debug)]
pub struct Watch {
    live: Live,
    user_id: OwnedUserId,
    marks: Arc<Marks>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.marks.watchers.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("chancery_live_watches").decrement(1);
    }
}

impl Live {
    /// Begins to watch a user; reads the user when not in memory.
    pub async fn watch(&self, user_id: &UserId) -> Result<Watch, Error> {
        let (marks, is_here) = {
            let mut memory = self.0.memory.write();
            let used = memory.next_use();
            let slot = memory.users.entry(user_id.to_owned()).or_default();
            slot.marks.used.store(used, Ordering::Relaxed);
            slot.marks.watchers.fetch_add(1, Ordering::AcqRel);
            (slot.marks.clone(), slot.user.is_some())
        };
        metrics::gauge!("chancery_live_watches").increment(1);
        let watch = Watch {
            live: self.clone(),
            user_id: user_id.to_owned(),
            marks,
        };
        if !is_here {
            self.load_user(user_id).await?;
        }
        Ok(watch)
    }
}

impl Watch {
    /// The user.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// Hears of changes from now on, once enabled: look after that, then wait.
    pub fn changed(&self) -> Notified<'_> {
        self.marks.wake.notified()
    }

    /// Whether anything changed for the user after the token.
    pub fn has_changed_since(&self, since: SyncToken) -> bool {
        self.marks.changed() > since.stream || self.marks.changed_ephemeral() > since.ephemeral
    }

    /// Whether it may have changed after the position with whom the user shares rooms, or which
    /// devices they have.
    pub fn device_lists_changed_since(&self, since: StreamPosition) -> bool {
        self.marks.device_lists() > since
    }

    /// Whether messages may wait for a device after the position. What is not known yet is taken
    /// for yes.
    pub fn has_mail(&self, device_id: &DeviceId, after: StreamPosition) -> bool {
        let devices = self.marks.devices.lock();
        let mail = devices.get(device_id).and_then(|device| device.mail);
        mail.is_none_or(|mail| mail.first <= mail.last && mail.last > after)
    }

    /// Deletes the messages that a device has received: those up to a position.
    ///
    /// No statement when none are there.
    pub async fn acknowledge(
        &self,
        device_id: &DeviceId,
        up_to: StreamPosition,
    ) -> Result<(), Error> {
        let mail = self
            .marks
            .devices
            .lock()
            .get(device_id)
            .and_then(|device| device.mail);
        if mail.is_some_and(|mail| mail.first > mail.last || mail.first > up_to) {
            return Ok(());
        }
        let mut db = self.live.0.database.acquire().await?;
        to_device::acknowledge(&mut db, &self.user_id, device_id, up_to).await?;
        if let Some(mail) = self
            .marks
            .devices
            .lock()
            .get_mut(device_id)
            .and_then(|device| device.mail.as_mut())
        {
            mail.first = mail.first.max(StreamPosition(up_to.get() + 1));
        }
        Ok(())
    }

    /// Notes what was found waiting for a device up to `until`: the first and the last message.
    /// What came before was acknowledged.
    pub fn note_mail(
        &self,
        device_id: &DeviceId,
        found: Option<(StreamPosition, StreamPosition)>,
        until: StreamPosition,
    ) {
        let mut devices = self.marks.devices.lock();
        let device = devices.entry(device_id.to_owned()).or_default();
        let arrival = device.last_arrival;
        device.mail.get_or_insert_with(|| {
            let (first, last) = found.unwrap_or((StreamPosition(until.get() + 1), until));
            Mail {
                first,
                last: last.max(arrival),
            }
        });
    }

    /// What was last counted in a room for the user.
    pub fn tally(&self, room_nid: RoomNid) -> Option<Arc<Tally>> {
        self.marks.unread.lock().get(&room_nid).cloned()
    }

    /// Keeps what was counted in a room for the user.
    pub fn note_tally(&self, room_nid: RoomNid, tally: Arc<Tally>) {
        self.marks.unread.lock().insert(room_nid, tally);
    }

    /// Whether the counts of a device's keys are known to have changed after the position.
    pub fn key_counts_changed_since(&self, device_id: &DeviceId, since: StreamPosition) -> bool {
        let devices = self.marks.devices.lock();
        devices
            .get(device_id)
            .is_some_and(|device| device.keys_changed > since)
    }

    /// How many keys a device has left: read once, then again only after they changed.
    pub async fn key_counts(&self, device_id: &DeviceId) -> Result<Arc<KeyCounts>, Error> {
        if let Some(device) = self.marks.devices.lock().get(device_id)
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
        let mut devices = self.marks.devices.lock();
        devices.entry(device_id.to_owned()).or_default().keys = Some((read_at, counts.clone()));
        Ok(counts)
    }
}
