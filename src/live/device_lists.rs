//! Changes of the device lists of users that are not cached: which users they concern is read from
//! the database, beside the loop that applies the stream.

use std::{ops::Bound, time::Duration};

use ruma::{OwnedUserId, UserId};
use storage::memberships;
use tokio::time::sleep;
use types::StreamPosition;

use crate::{Live, cache::LiveCache, notifications::Notifications, user::LastChanged};

/// How long to wait after the database has failed.
const RETRY: Duration = Duration::from_secs(1);

impl Live {
    /// Whether it is not known yet which users a change after the position concerns.
    pub(crate) fn has_unresolved_device_list_since(&self, since: StreamPosition) -> bool {
        let cache = self.0.cache.read();
        let after = (Bound::Excluded(since), Bound::Unbounded);
        cache.unresolved_device_lists.range(after).next().is_some()
    }

    /// Records changes of device lists for the users that share a room, as soon as they are known.
    /// Until then everybody asks the database.
    pub(crate) async fn resolve_device_lists(&self) {
        loop {
            let changed = self.0.device_lists_unresolved.notified();
            let next = self.0.cache.read().next_unresolved_device_list();
            let Some((position, user_id)) = next else {
                changed.await;
                continue;
            };
            match self.sharing_a_room(&user_id).await {
                Ok(others) => self.record_device_list(position, &others),
                Err(error) => {
                    tracing::warn!(%error, "Who shares a room with a user could not be read");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn sharing_a_room(&self, user_id: &UserId) -> Result<Vec<OwnedUserId>, storage::Error> {
        let mut db = self.0.database.acquire().await?;
        memberships::sharing_a_room(&mut db, user_id).await
    }

    fn record_device_list(&self, position: StreamPosition, users: &[OwnedUserId]) {
        let mut notifications = Notifications::default();
        {
            let mut cache = self.0.cache.write();
            let record = |last_changed: &LastChanged| {
                last_changed.advance_device_lists(position);
                last_changed.advance(position);
            };
            for user_id in users {
                cache.record(user_id, &mut notifications, record);
            }
            cache.unresolved_device_lists.remove(&position);
        }
        notifications.notify();
    }
}

impl LiveCache {
    pub(crate) fn has_unresolved_device_lists(&self) -> bool {
        !self.unresolved_device_lists.is_empty()
    }

    fn next_unresolved_device_list(&self) -> Option<(StreamPosition, OwnedUserId)> {
        let (position, user_id) = self.unresolved_device_lists.first_key_value()?;
        Some((*position, user_id.clone()))
    }
}
