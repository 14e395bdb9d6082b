//! The handle of this crate.

use std::sync::Arc;

use config::Limits;
use federation::Federation;
use ruma::{OwnedServerName, UserId};
use storage::{Committer, Database, feed::Subscription};
use tokio::sync::Notify;
use types::Clock;

use crate::{
    key_cache::KeyCache,
    remote_lists::{Announcements, InProgress},
};

/// Keys and to-device messages of this server's users; cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys {
    pub(crate) database: Database,
    pub(crate) committer: Committer,
    pub(crate) federation: Federation,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) cache: Arc<KeyCache>,
    /// Lists of users of other servers are to be read anew.
    pub(crate) stale_lists: Arc<Notify>,
    pub(crate) lists_in_progress: Arc<InProgress>,
    pub(crate) announcements: Announcements,
}

/// What keys are to be handled like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This server's name.
    pub server_name: OwnedServerName,
    /// How much memory keys may take that were asked for, in bytes.
    pub cache_bytes: u64,
    /// Whether other servers are told the names of devices.
    pub send_device_names: bool,
    /// How many keys a user may back up.
    pub limits: Limits,
}

impl Keys {
    /// A handle to the keys in this database.
    pub fn new(
        settings: Settings,
        database: Database,
        committer: Committer,
        federation: Federation,
        clock: Clock,
    ) -> Self {
        let cache = Arc::new(KeyCache::new(settings.cache_bytes));
        Self {
            database,
            committer,
            federation,
            settings,
            clock,
            cache,
            stale_lists: Arc::default(),
            lists_in_progress: Arc::default(),
            announcements: Announcements::default(),
        }
    }

    /// Keeps the keys in memory up to date; without it they are read from the database.
    pub async fn follow(&self, changes: Subscription) {
        self.cache.follow(changes).await;
    }

    /// Whether the user id belongs to this server.
    pub(crate) fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.settings.server_name
    }
}
