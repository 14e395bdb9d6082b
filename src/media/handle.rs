//! The handle of this crate.

use std::{path::Path, sync::Arc};

use federation::Federation;
use ruma::{OwnedMxcUri, OwnedServerName, ServerName};
use storage::Database;
use tokio::sync::{Semaphore, broadcast};
use types::Clock;

use crate::{
    Error, cache::RemoteCache, fetch::Fetches, last_access::LastAccessCache, store::Store,
};

/// Completed uploads that a slow waiter may lag behind before it must query the database.
const COMPLETION_CHANNEL_CAPACITY: usize = 256;
/// Images decoded concurrently; each may need much memory.
const MAX_CONCURRENT_THUMBNAILS: usize = 2;

/// The files of this server's users, and copies of other servers' files; cheap to clone.
#[derive(Clone, Debug)]
pub struct Media(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) federation: Federation,
    pub(crate) server_name: OwnedServerName,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) max_upload_bytes: u64,
    pub(crate) limits: config::Limits,
    pub(crate) max_remote_bytes: u64,
    pub(crate) cache: RemoteCache,
    pub(crate) fetches: Fetches,
    /// Sends the media ids whose content was uploaded.
    pub(crate) completed: broadcast::Sender<String>,
    pub(crate) last_access: LastAccessCache,
    /// Limits concurrent thumbnailing.
    pub(crate) thumbnail_permits: Arc<Semaphore>,
}

impl Media {
    /// Opens the content store in `folder` and removes uploads that a crash left unfinished.
    pub fn open(
        database: Database,
        federation: Federation,
        server_name: &ServerName,
        clock: Clock,
        (settings, limits): (&config::Media, config::Limits),
        folder: &Path,
    ) -> Result<Self, Error> {
        let store = Store::open(folder)?;
        store.delete_abandoned_uploads(clock.now_ms())?;
        Ok(Self(Arc::new(Inner {
            database,
            federation,
            server_name: server_name.to_owned(),
            clock,
            store,
            limits,
            max_upload_bytes: settings.max_upload_size.get(),
            max_remote_bytes: settings.max_remote_size.get(),
            cache: RemoteCache::new(settings),
            fetches: Fetches::default(),
            completed: broadcast::Sender::new(COMPLETION_CHANNEL_CAPACITY),
            last_access: LastAccessCache::default(),
            thumbnail_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_THUMBNAILS)),
        })))
    }

    /// The size of the largest file that can be uploaded, in bytes.
    pub fn max_upload_bytes(&self) -> u64 {
        self.0.max_upload_bytes
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// The URI of a file of this server.
    pub(crate) fn uri(&self, media_id: &str) -> OwnedMxcUri {
        format!("mxc://{}/{media_id}", self.0.server_name).into()
    }
}
