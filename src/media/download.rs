//! Downloads.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use ruma::ServerName;
use storage::media::{Content, Media as MediaRow};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    Error, Media, RangeRequest,
    store::{ObjectName, Store},
};

/// A file to serve.
pub struct Download {
    /// The content type that the uploader declared.
    pub content_type: Option<String>,
    /// The file name that the uploader gave.
    pub filename: Option<String>,
    /// The size in bytes; `None` while a file arrives whose size its server has not said.
    pub size: Option<u64>,
    /// The part of the file that the body holds, if it is not all of it.
    pub range: Option<Range<u64>>,
    /// The content.
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl Download {
    /// Opens a stored file, or a part of it.
    pub(crate) async fn open(
        store: &Store,
        name: &ObjectName,
        content: Content,
        range: Option<RangeRequest>,
    ) -> Result<Self, Error> {
        let range = match range {
            Some(request) => {
                let range = request.of(content.size);
                Some(range.ok_or(Error::NoSuchRange(content.size))?)
            }
            None => None,
        };
        let body = store.read(name, range.clone()).await?;
        Ok(Self {
            content_type: content.content_type,
            filename: content.filename,
            size: Some(content.size),
            range,
            body,
        })
    }

    /// A file held in memory.
    pub(crate) fn from_bytes(content_type: &str, bytes: Bytes) -> Self {
        Self {
            content_type: Some(content_type.to_owned()),
            filename: None,
            size: Some(bytes.len() as u64),
            range: None,
            body: stream::iter([Ok(bytes)]).boxed(),
        }
    }
}

impl Media {
    /// Opens a file, waiting up to `wait` for content that is not uploaded yet.
    ///
    /// A file of another server is served from the cache, or while it is fetched.
    pub async fn download(
        &self,
        server_name: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<Download, Error> {
        self.download_part(server_name, media_id, wait, None).await
    }

    /// Opens a part of a file, if one is given; see [`Self::download`]. Of a file that is being fetched there are no parts:
    /// it is served as a whole.
    #[tracing::instrument(name = "media.download", skip_all, err(level = "debug"))]
    pub async fn download_part(
        &self,
        server_name: &ServerName,
        media_id: &str,
        wait: Duration,
        range: Option<RangeRequest>,
    ) -> Result<Download, Error> {
        if !self.is_local(server_name) {
            return self
                .download_remote(server_name, media_id, wait, range)
                .await;
        }
        let content = self.content(server_name, media_id, wait).await?;
        let name = ObjectName::local(&content.sha256);
        Download::open(&self.inner().store, &name, content, range).await
    }

    /// Whether files of a server are this server's own.
    pub(crate) fn is_local(&self, server_name: &ServerName) -> bool {
        *server_name == *self.inner().server_name
    }

    /// The content of a media id of this server, waiting up to `wait` if it is not uploaded yet; it is about to be
    /// served.
    pub(crate) async fn content(
        &self,
        server_name: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<Content, Error> {
        let content = self.wait_for_content(server_name, media_id, wait).await?;
        let inner = self.inner();
        let now_ms = inner.clock.now_ms();
        inner.last_access.record(server_name, media_id, now_ms);
        Ok(content)
    }

    async fn wait_for_content(
        &self,
        server_name: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<Content, Error> {
        // Subscribed before the lookup, so that an upload in between is not missed.
        let mut completed = self.inner().completed.subscribe();
        let arrival = async {
            loop {
                if let MediaRow::Uploaded(content) = self.find(server_name, media_id).await? {
                    return Ok(content);
                }
                wait_for_upload(&mut completed, media_id).await;
            }
        };
        if let Ok(content) = tokio::time::timeout(wait, arrival).await {
            return content;
        }
        // The content may have been uploaded through another process, which sends no notification.
        match self.find(server_name, media_id).await? {
            MediaRow::Uploaded(content) => Ok(content),
            MediaRow::Pending { .. } => Err(Error::NotYetUploaded),
            MediaRow::Quarantined => Err(Error::NotFound),
        }
    }
}

/// Waits until the content of a media id is uploaded, or may be.
async fn wait_for_upload(completed: &mut Receiver<String>, media_id: &str) {
    loop {
        match completed.recv().await {
            Ok(id) if id != media_id => {}
            Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        }
    }
}
