//! When files were last served: buffered in memory, written periodically.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use storage::media::LastAccess;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{Error, Media};

/// How often the buffer is written.
const INTERVAL: Duration = Duration::from_mins(1);
/// Rows that one statement writes.
const BATCH: usize = 1000;
/// The most files in the buffer; further ones are not recorded until it is written.
const MAX_ENTRIES: usize = 50_000;

/// The last access of each file since the last write; may be lost on a crash.
#[derive(Debug, Default)]
pub(crate) struct LastAccessCache(Mutex<HashMap<(OwnedServerName, String), u64>>);

impl LastAccessCache {
    pub(crate) fn record(&self, origin: &ServerName, media_id: &str, now_ms: u64) {
        let mut entries = self.0.lock();
        if entries.len() < MAX_ENTRIES {
            entries.insert((origin.to_owned(), media_id.to_owned()), now_ms);
        }
    }

    fn take(&self) -> Vec<LastAccess> {
        let taken = std::mem::take(&mut *self.0.lock());
        let mut entries: Vec<LastAccess> = taken
            .into_iter()
            .map(|((origin, media_id), ts)| LastAccess {
                origin: origin.to_string(),
                media_id,
                ts: ts as i64,
            })
            .collect();
        // One order for all processes, so that their updates cannot deadlock.
        entries.sort_by(|a, b| (&a.origin, &a.media_id).cmp(&(&b.origin, &b.media_id)));
        entries
    }
}

impl Media {
    /// Writes periodically when files were last served, and keeps the cache within its limit, until `stopping` is
    /// cancelled.
    pub async fn run_maintenance(self, stopping: CancellationToken) -> Result<(), Error> {
        let mut writes = interval(INTERVAL);
        writes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return self.write_last_access().await,
                _ = writes.tick() => self.evict().await?,
                () = self.inner().cache.exceeded() => self.evict().await?,
            }
        }
    }

    /// Writes the buffer to the database.
    pub async fn write_last_access(&self) -> Result<(), Error> {
        let entries = self.inner().last_access.take();
        if entries.is_empty() {
            return Ok(());
        }
        let mut db = self.inner().database.acquire().await?;
        for batch in entries.chunks(BATCH) {
            storage::media::record_last_access(&mut db, batch).await?;
        }
        Ok(())
    }
}
