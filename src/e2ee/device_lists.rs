//! Whose devices a user should look at anew.

use ruma::UserId;
use storage::device_lists::{self, DeviceListChanges};
use types::StreamPosition;

use crate::{Error, Keys};

impl Keys {
    /// Whose devices changed after `from`, and who shares no room with the user any more.
    ///
    /// The upper end that clients may name is a hint only: what changed again after it is known
    /// by its last change alone and must not be left out.
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
