//! The handle of this crate.

use std::sync::Arc;

use ruma::{OwnedServerName, ServerName, UserId};
use storage::{Committer, Database, feed::Subscription};
use types::Clock;

use crate::key_cache::KeyCache;

/// Keys and to-device messages of this server's users; cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys {
    pub(crate) database: Database,
    pub(crate) committer: Committer,
    pub(crate) server_name: OwnedServerName,
    pub(crate) clock: Clock,
    pub(crate) cache: Arc<KeyCache>,
}

impl Keys {
    /// A handle to the keys in this database, with so much memory for those that were asked for.
    pub fn new(
        database: Database,
        committer: Committer,
        server_name: &ServerName,
        clock: Clock,
        cache_bytes: u64,
    ) -> Self {
        Self {
            database,
            committer,
            server_name: server_name.to_owned(),
            clock,
            cache: Arc::new(KeyCache::new(cache_bytes)),
        }
    }

    /// Keeps the keys in memory up to date; without it they are read from the database.
    pub async fn follow(&self, changes: Subscription) {
        self.cache.follow(changes).await;
    }

    /// Whether the user id belongs to this server.
    pub(crate) fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.server_name
    }
}
