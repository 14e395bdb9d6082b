//! Thumbnails, created when first requested.
//!
//! Spec: client-server, "Thumbnails".

use std::{sync::Arc, time::Duration};

use ruma::ServerName;
use storage::media::Content;

use crate::{
    Download, Error, Media, ThumbnailRequest,
    image::{ThumbnailResult, ThumbnailSize, create_thumbnail, supported_format},
    store::ObjectName,
};

/// The largest file that is decoded.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The first bytes of a file, which identify its format.
const FORMAT_BYTES: u64 = 64;

/// A stored file of which a thumbnail is made.
struct Source<'a> {
    server_name: &'a ServerName,
    media_id: &'a str,
    content: Content,
    name: ObjectName,
}

impl Media {
    /// Opens a thumbnail of an image, or the image itself if it is small enough or no thumbnail size is
    /// large enough.
    ///
    /// For a file of another server that cannot be had or decoded here, its server is asked for a thumbnail.
    #[tracing::instrument(name = "media.thumbnail", skip_all, err(level = "debug"))]
    pub async fn thumbnail(
        &self,
        server_name: &ServerName,
        media_id: &str,
        request: ThumbnailRequest,
        wait: Duration,
    ) -> Result<Download, Error> {
        let size = ThumbnailSize::of(&request);
        if self.is_local(server_name) {
            let content = self.content(server_name, media_id, wait).await?;
            let name = ObjectName::local(&content.sha256);
            let source = Source {
                server_name,
                media_id,
                content,
                name,
            };
            return self.thumbnail_of(&source, size, &request).await;
        }
        let fetched = self.cached_or_fetched(server_name, media_id, wait).await;
        let (error, is_visual) = match fetched {
            Ok(content) => {
                let is_visual = is_visual(content.content_type.as_deref());
                let source = Source {
                    server_name,
                    media_id,
                    content,
                    name: ObjectName::remote(server_name, media_id),
                };
                match self.thumbnail_of(&source, size, &request).await {
                    Err(error) => (error, is_visual),
                    thumbnail => return thumbnail,
                }
            }
            Err(error) => (error, true),
        };
        let error = match error.unshared() {
            Error::ImageTooLarge => Error::RemoteImageTooLarge,
            Error::NoThumbnail | Error::RemoteTooLarge => error,
            _ => return Err(error),
        };
        if !is_visual {
            return Err(error);
        }
        let thumbnail = self.thumbnail_of_origin(server_name, media_id, &request, wait);
        let Ok(bytes) = thumbnail.await else {
            return Err(error);
        };
        if size != ThumbnailSize::Original {
            let name = size.name(request.animated == Some(false));
            self.cache_thumbnail(server_name, media_id, &name, bytes.clone())
                .await?;
        }
        let format = supported_format(&bytes)?;
        Ok(Download::from_bytes(format.to_mime_type(), bytes))
    }

    async fn thumbnail_of(
        &self,
        source: &Source<'_>,
        size: ThumbnailSize,
        request: &ThumbnailRequest,
    ) -> Result<Download, Error> {
        if source.content.size == 0 {
            return Err(Error::NoThumbnail);
        }
        if size == ThumbnailSize::Original {
            let head = self.inner().store.read_start(&source.name, FORMAT_BYTES);
            supported_format(&head.await?)?;
        } else {
            let still = request.animated == Some(false);
            if let ThumbnailResult::Image(bytes) =
                self.get_or_create_thumbnail(source, size, still).await?
            {
                let format = supported_format(&bytes)?;
                return Ok(Download::from_bytes(format.to_mime_type(), bytes));
            }
        }
        let (store, content) = (&self.inner().store, source.content.clone());
        Download::open(store, &source.name, content, None).await
    }

    /// The stored thumbnail, or a new one.
    async fn get_or_create_thumbnail(
        &self,
        source: &Source<'_>,
        size: ThumbnailSize,
        still: bool,
    ) -> Result<ThumbnailResult, Error> {
        let store = &self.inner().store;
        let name = size.name(still);
        if let Some(bytes) = store.thumbnail(&source.name, &name).await? {
            return Ok(ThumbnailResult::Image(bytes));
        }
        if source.content.size > MAX_FILE_BYTES {
            return Err(Error::ImageTooLarge);
        }
        let permit = Arc::clone(&self.inner().thumbnail_permits).acquire_owned();
        let permit = permit.await.map_err(|_| Error::NoThumbnail)?;
        let content = store.read_all(&source.name).await?;
        let work = tokio::task::spawn_blocking(move || {
            // The permit moves along: when the request is cancelled, the work still goes on.
            let _permit = permit;
            create_thumbnail(&content, size, still)
        });
        // A panicking decoder means an unsupported image.
        let result = work.await.map_err(|_| Error::NoThumbnail)??;
        if let ThumbnailResult::Image(bytes) = &result {
            let bytes = bytes.clone();
            if self.is_local(source.server_name) {
                store.store_thumbnail(&source.name, &name, bytes).await?;
            } else {
                self.cache_thumbnail(source.server_name, source.media_id, &name, bytes)
                    .await?;
            }
        }
        Ok(result)
    }
}

/// Whether a thumbnail of such a file can be expected.
fn is_visual(content_type: Option<&str>) -> bool {
    let content_type = content_type.unwrap_or_default().trim_start();
    ["image/", "video/"].iter().any(|kind| {
        content_type
            .get(..kind.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(kind))
    })
}
