//! The lists that this process is reading from other servers.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};
use tokio::sync::Notify;

/// The users whose lists are being read.
#[derive(Debug, Default)]
pub(crate) struct InProgress {
    users: Mutex<HashSet<OwnedUserId>>,
    ended: Notify,
}

/// A list that is being read, until this is dropped.
#[derive(Debug)]
pub(super) struct Reading {
    progress: Arc<InProgress>,
    user_id: OwnedUserId,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.progress.users.lock().remove(&self.user_id);
        self.progress.ended.notify_waiters();
    }
}

impl InProgress {
    /// The list of a user begins to be read.
    pub(super) fn begin(self: &Arc<Self>, user_id: &UserId) -> Reading {
        self.users.lock().insert(user_id.to_owned());
        Reading {
            progress: Arc::clone(self),
            user_id: user_id.to_owned(),
        }
    }

    /// Waits until none of these lists is being read.
    pub(super) async fn ended(&self, user_ids: &[OwnedUserId]) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let is_read = |users: &HashSet<OwnedUserId>| {
                let mut user_ids = user_ids.iter();
                user_ids.any(|user_id| users.contains(user_id))
            };
            if !is_read(&self.users.lock()) {
                return;
            }
            ended.await;
        }
    }
}
