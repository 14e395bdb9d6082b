//! The handle.

use std::{path::Path, sync::Arc};

use ruma::{OwnedMxcUri, OwnedServerName, ServerName};
use storage::Database;
use tokio::sync::{Semaphore, broadcast};
use types::Clock;

use crate::{Error, store::Store};

/// Ids that may be announced before a slow waiter has to look for itself.
const ANNOUNCED: usize = 256;
/// Images that are worked on at once: each may take much memory.
const AT_WORK: usize = 2;

/// The files of this server's users; cheap to clone.
#[derive(Clone, Debug)]
pub struct Media(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) server_name: OwnedServerName,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) max_upload_bytes: u64,
    /// The ids whose content has come after all.
    pub(crate) completed: broadcast::Sender<String>,
    /// The right to work on an image.
    pub(crate) at_work: Arc<Semaphore>,
}

impl Media {
    /// Opens the content store in `folder` and removes what uploads left there that were cut off
    /// by a crash long ago.
    pub fn open(
        database: Database,
        server_name: &ServerName,
        clock: Clock,
        settings: &config::Media,
        folder: &Path,
    ) -> Result<Self, Error> {
        let store = Store::open(folder)?;
        store.sweep(clock.now_ms())?;
        Ok(Self(Arc::new(Inner {
            database,
            server_name: server_name.to_owned(),
            clock,
            store,
            max_upload_bytes: settings.max_upload_size.get(),
            completed: broadcast::Sender::new(ANNOUNCED),
            at_work: Arc::new(Semaphore::new(AT_WORK)),
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
