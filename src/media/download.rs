//! Downloading.

use std::time::Duration;

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use ruma::ServerName;
use storage::media::{Content, Media as Known};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{Error, Media};

/// A file on its way out.
pub struct Download {
    /// What its uploader said that it is.
    pub content_type: Option<String>,
    /// What its uploader called it.
    pub filename: Option<String>,
    /// How many bytes.
    pub size: u64,
    /// The bytes.
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl Download {
    /// A file that is in memory as a whole.
    pub(crate) fn of(content_type: &str, bytes: Bytes) -> Self {
        Self {
            content_type: Some(content_type.to_owned()),
            filename: None,
            size: bytes.len() as u64,
            body: stream::iter([Ok(bytes)]).boxed(),
        }
    }
}

impl Media {
    /// Opens a file of this server, waiting a while for content that is still to come.
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
            body: body.map_err(Error::from).boxed(),
        })
    }

    /// The content under an id, waiting a while if it is still to come.
    pub(crate) async fn content(
        &self,
        server_name: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<Content, Error> {
        // Before looking: content that comes in between must not be missed.
        let mut completed = self.inner().completed.subscribe();
        let arrival = async {
            loop {
                if let Known::Uploaded(content) = self.find(server_name, media_id).await? {
                    return Ok(content);
                }
                until_completed(&mut completed, media_id).await;
            }
        };
        if let Ok(content) = tokio::time::timeout(wait, arrival).await {
            return content;
        }
        // Content may have come through another process, which does not tell.
        match self.find(server_name, media_id).await? {
            Known::Uploaded(content) => Ok(content),
            Known::Pending { .. } => Err(Error::NotYetUploaded),
        }
    }
}

/// Waits until the content of an id has come, or may have.
async fn until_completed(completed: &mut Receiver<String>, media_id: &str) {
    loop {
        match completed.recv().await {
            Ok(id) if id != media_id => {}
            Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        }
    }
}
