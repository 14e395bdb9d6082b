//! Device-list changes for `/keys/changes`.

use ruma::UserId;
use storage::device_lists::{self, DeviceListChanges};
use types::StreamPosition;

use crate::{Error, Keys};

impl Keys {
    /// The users whose device lists changed after `from`, and those who no longer share a room.
    ///
    /// The upper bound that clients send is ignored: only the last change of each list is stored,
    /// so a list that changed again after it would be missed.
    pub async fn changes_since(
        &self,
        user_id: &UserId,
        from: StreamPosition,
    ) -> Result<DeviceListChanges, Error> {
        let to = self.database.committed();
        let mut snapshot = self.database.snapshot().await?;
        let changes = device_lists::changed_between(&mut snapshot, user_id, from, to).await?;
        snapshot.commit().await?;
        Ok(changes)
    }
}
