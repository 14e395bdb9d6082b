//! Thumbnails, created when first requested.
//!
//! Spec: client-server, "Thumbnails".

use std::{sync::Arc, time::Duration};

use ruma::{ServerName, media::Method};

use crate::{
    Download, Error, Media,
    image::{ThumbnailResult, ThumbnailSize, create_thumbnail, supported_format},
};

/// The largest file that is decoded.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The first bytes of a file, which identify its format.
const FORMAT_BYTES: u64 = 64;
/// A thumbnail request.
#[derive(Clone, Debug)]
pub struct ThumbnailRequest {
    /// The minimum width, in pixels.
    pub width: u32,
    /// The minimum height, in pixels.
    pub height: u32,
    /// Whether the image may be cropped.
    pub method: Method,
    /// Whether it may be animated; `None` leaves it to the server.
    pub animated: Option<bool>,
}

impl Media {
    /// Opens a thumbnail of an image, or the image itself if it is small enough or no thumbnail size is
    /// large enough.
    #[tracing::instrument(name = "media.thumbnail", skip_all, err(level = "debug"))]
    pub async fn thumbnail(
        &self,
        server_name: &ServerName,
        media_id: &str,
        request: ThumbnailRequest,
        wait: Duration,
    ) -> Result<Download, Error> {
        let size = ThumbnailSize::of(&request);
        let content = self.content(server_name, media_id, wait).await?;
        if content.size == 0 {
            return Err(Error::NoThumbnail);
        }
        if size == ThumbnailSize::Original {
            let head = self.inner().store.read_start(&content.sha256, FORMAT_BYTES);
            supported_format(&head.await?)?;
        } else {
            if content.size > MAX_FILE_BYTES {
                return Err(Error::ImageTooLarge);
            }
            let still = request.animated == Some(false);
            if let ThumbnailResult::Image(bytes) = self
                .get_or_create_thumbnail(&content.sha256, size, still)
                .await?
            {
                let format = supported_format(&bytes)?;
                return Ok(Download::from_bytes(format.to_mime_type(), bytes));
            }
        }
        self.download(server_name, media_id, Duration::ZERO).await
    }

    /// The stored thumbnail, or a new one.
    async fn get_or_create_thumbnail(
        &self,
        sha256: &[u8],
        size: ThumbnailSize,
        still: bool,
    ) -> Result<ThumbnailResult, Error> {
        let store = &self.inner().store;
        let name = size.name(still);
        if let Some(bytes) = store.thumbnail(sha256, &name).await? {
            return Ok(ThumbnailResult::Image(bytes));
        }
        let permit = Arc::clone(&self.inner().thumbnail_permits).acquire_owned();
        let permit = permit.await.map_err(|_| Error::NoThumbnail)?;
        let content = store.read_all(sha256).await?;
        let work = tokio::task::spawn_blocking(move || {
            // The permit moves along: when the request is cancelled, the work still goes on.
            let _permit = permit;
            create_thumbnail(&content, size, still)
        });
        // A panicking decoder means an unsupported image.
        let result = work.await.map_err(|_| Error::NoThumbnail)??;
        if let ThumbnailResult::Image(bytes) = &result {
            store.store_thumbnail(sha256, &name, bytes.clone()).await?;
        }
        Ok(result)
    }
}
