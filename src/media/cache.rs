//! Keeps copies of other servers' files within a limit; the least recently used ones are removed first.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ruma::ServerName;
use storage::media::cache::{self, CachedFile};
use tokio::sync::Notify;

use crate::{Error, Media, image::ThumbnailSize, metrics, store::ObjectName};

/// Copies removed at once.
const BATCH: i64 = 100;

/// What copies of other servers' files take.
#[derive(Debug)]
pub(crate) struct RemoteCache {
    /// In bytes.
    limit: u64,
    /// How long copies are kept that nobody asks for.
    retention: Duration,
    /// As of the last count, and what this process has added since.
    bytes: AtomicU64,
    exceeded: Notify,
}

impl RemoteCache {
    pub(crate) fn new(settings: &config::Media) -> Self {
        Self {
            limit: settings.remote_cache_size.get(),
            retention: settings.remote_retention,
            bytes: AtomicU64::new(0),
            exceeded: Notify::new(),
        }
    }

    /// Waits until the limit is exceeded.
    pub(crate) async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// Counts what was added.
    pub(crate) fn add(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit {
            self.exceeded.notify_one();
        }
    }
}

impl Media {
    /// Removes copies of other servers' files that were not served for longer than they are kept, and until a tenth of
    /// the cache is free, if it exceeds its limit.
    ///
    /// Writes first when files were last served.
    pub async fn evict(&self) -> Result<(), Error> {
        self.write_last_access().await?;
        let now_ms = self.inner().clock.now_ms();
        let retention_ms = self.inner().cache.retention.as_millis() as u64;
        if let Some(until_ts) = now_ms.checked_sub(retention_ms) {
            while self.evict_some(until_ts, u64::MAX).await? {}
        }
        let limit = self.inner().cache.limit;
        let mut allowed = limit;
        loop {
            let total = self.count().await?;
            if total <= allowed {
                return Ok(());
            }
            allowed = limit - limit / 10;
            if !self.evict_some(now_ms, total - allowed).await? {
                return Ok(());
            }
        }
    }

    /// What all copies take, in bytes.
    async fn count(&self) -> Result<u64, Error> {
        let inner = self.inner();
        let mut db = inner.database.acquire().await?;
        let total = cache::total_bytes(&mut db).await?;
        inner.cache.bytes.store(total, Ordering::Relaxed);
        metrics::set_cache_bytes(total);
        Ok(total)
    }

    /// Removes some of the copies that were not served since `until_ts`, as long as they take less than `excess` bytes;
    /// `false` if there is none.
    async fn evict_some(&self, until_ts: u64, excess: u64) -> Result<bool, Error> {
        let mut db = self.inner().database.acquire().await?;
        let mut files = cache::least_recently_used(&mut db, until_ts, BATCH).await?;
        drop(db);
        let mut freed: u64 = 0;
        files.retain(|file| {
            let is_removed = freed < excess;
            freed = freed.saturating_add(file.bytes);
            is_removed
        });
        if files.is_empty() {
            return Ok(false);
        }
        self.remove(&files).await?;
        Ok(true)
    }

    /// Removes the files before their rows: a row without a file is fetched again, but nobody would find a file without
    /// a row.
    async fn remove(&self, files: &[CachedFile]) -> Result<(), Error> {
        let inner = self.inner();
        for file in files {
            let origin = <&ServerName>::try_from(file.origin.as_str())
                .map_err(|error| storage::Error::Corrupt(error.to_string()))?;
            let name = ObjectName::remote(origin, &file.media_id);
            inner.store.delete(&name, ThumbnailSize::names()).await?;
        }
        let mut db = inner.database.acquire().await?;
        cache::delete(&mut db, files).await?;
        metrics::record_evictions(files.len());
        Ok(())
    }
}
