//! Downloads of other servers' files.

use std::time::Duration;

use ruma::ServerName;
use storage::media::{Content, Media as MediaRow, cache};
use tokio::time::Instant;
use types::{ErrorKind, Fault as _};

use crate::{
    Download, Error, Media, RangeRequest, ThumbnailRequest,
    fetch::Fetching,
    image::supported_format,
    metrics::{self, Served},
    pending::is_media_id,
    store::ObjectName,
};

/// How long a request waits for a file to begin to arrive, besides the time that its server waits for an upload.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// The largest thumbnail that is fetched from another server.
const MAX_THUMBNAIL_BYTES: u64 = 4 * 1024 * 1024;

impl Media {
    /// Opens a file of another server, from the cache or while it is fetched.
    pub(crate) async fn download_remote(
        &self,
        origin: &ServerName,
        media_id: &str,
        wait: Duration,
        range: Option<RangeRequest>,
    ) -> Result<Download, Error> {
        if let Some(content) = self.cached(origin, media_id).await? {
            let name = ObjectName::remote(origin, media_id);
            match Download::open(&self.inner().store, &name, content, range).await {
                Ok(download) => {
                    metrics::record_served(Served::Cached);
                    return Ok(download);
                }
                // It was removed from the cache in the meantime.
                Err(error) if error.is_missing_file() => {}
                Err(error) => return Err(error),
            }
        }
        let mut fetching = self.fetch(origin, media_id, wait).await?;
        let head = fetching.begun().await?;
        Ok(fetching.into_download(&head))
    }

    /// Waits until a file of another server is in the cache.
    pub(crate) async fn cached_or_fetched(
        &self,
        origin: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<Content, Error> {
        let name = ObjectName::remote(origin, media_id);
        if let Some(content) = self.cached(origin, media_id).await?
            && self.inner().store.exists(&name).await?
        {
            metrics::record_served(Served::Cached);
            return Ok(content);
        }
        let mut fetching = self.fetch(origin, media_id, wait).await?;
        fetching.finished().await?;
        let content = self.cached(origin, media_id).await?;
        // Removed from the cache at once, or withdrawn.
        content.ok_or(Error::NotFound)
    }

    /// A thumbnail that the file's server has made.
    pub(crate) async fn thumbnail_of_origin(
        &self,
        origin: &ServerName,
        media_id: &str,
        request: &ThumbnailRequest,
        wait: Duration,
    ) -> Result<bytes::Bytes, Error> {
        let inner = self.inner();
        let _permits = inner.fetches.permits(origin).await;
        let thumbnail = inner
            .federation
            .download_thumbnail(origin, media_id, request, wait);
        let mut thumbnail = thumbnail.await?;
        let mut bytes = bytes::BytesMut::new();
        while let Some(chunk) = thumbnail.chunk().await? {
            if (bytes.len() + chunk.len()) as u64 > MAX_THUMBNAIL_BYTES {
                return Err(Error::RemoteTooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        supported_format(&bytes)?;
        Ok(bytes.freeze())
    }

    /// Stores a thumbnail of a file of another server, if the file is in the cache.
    pub(crate) async fn cache_thumbnail(
        &self,
        origin: &ServerName,
        media_id: &str,
        size: &str,
        bytes: bytes::Bytes,
    ) -> Result<(), Error> {
        let inner = self.inner();
        let length = bytes.len() as u64;
        let mut db = inner.database.acquire().await?;
        if !cache::add_bytes(&mut db, origin, media_id, length).await? {
            return Ok(());
        }
        drop(db);
        let name = ObjectName::remote(origin, media_id);
        inner.store.store_thumbnail(&name, size, bytes).await?;
        inner.cache.add(length);
        Ok(())
    }

    /// What is known of a copy of another server's file, which is about to be served.
    async fn cached(&self, origin: &ServerName, media_id: &str) -> Result<Option<Content>, Error> {
        let inner = self.inner();
        if !is_media_id(media_id) {
            return Err(Error::NotFound);
        }
        inner.federation.policy().check_media(origin)?;
        let mut db = inner.database.acquire().await?;
        match storage::media::find(&mut db, origin, media_id).await? {
            Some(MediaRow::Uploaded(content)) => {
                let now_ms = inner.clock.now_ms();
                inner.last_access.record(origin, media_id, now_ms);
                Ok(Some(content))
            }
            Some(MediaRow::Quarantined) => Err(Error::NotFound),
            Some(MediaRow::Pending { .. }) | None => Ok(None),
        }
    }

    /// A fetch of a file that has begun to arrive.
    async fn fetch(
        &self,
        origin: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<Fetching, Error> {
        let deadline = Instant::now() + wait;
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let (mut fetching, served) = self.join_or_start(origin, media_id, remaining)?;
            metrics::record_served(served);
            let begun = tokio::time::timeout(remaining + MAX_WAIT, fetching.begun()).await;
            match begun.map_err(|_| Error::TooSlow)? {
                Ok(_) => return Ok(fetching),
                // Whoever has started it may have wanted to wait for a shorter time.
                Err(error)
                    if matches!(served, Served::Joined)
                        && !remaining.is_zero()
                        && error.kind() == ErrorKind::NotYetUploaded => {}
                Err(error) => return Err(error),
            }
        }
    }
}
