//! Downloads.

use std::time::Duration;

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use ruma::ServerName;
use storage::media::{Content, Media as MediaRow};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{Error, Media};

/// A file to serve.
pub struct Download {
    /// The content type that the uploader declared.
    pub content_type: Option<String>,
    /// The file name that the uploader gave.
    pub filename: Option<String>,
    /// The size in bytes.
    pub size: u64,
    /// The content.
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl Download {
    /// A file held in memory.
    pub(crate) fn from_bytes(content_type: &str, bytes: Bytes) -> Self {
        Self {
            content_type: Some(content_type.to_owned()),
            filename: None,
            size: bytes.len() as u64,
            body: stream::iter([Ok(bytes)]).boxed(),
        }
    }
}

impl Media {
    /// Opens a file of this server, waiting up to `wait` for content that is not uploaded yet.
    #[tracing::instrument(name = "media.download", skip_all, err(level = "debug"))]
    pub async fn download(
        &self,
        server_name: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<Download, Error> {
        let content = self.content(server_name, media_id, wait).await?;
        let body = self.inner().store.read(&content.sha256).await?;
        Ok(Download {
            content_type: content.content_type,
            filename: content.filename,
            size: content.size,
            body,
        })
    }

    /// The content of a media id, waiting up to `wait` if it is not uploaded yet; it is about to be
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
