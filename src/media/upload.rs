//! Uploads.

use bytes::Bytes;
use futures::stream::BoxStream;
use ruma::{OwnedMxcUri, UserId};
use storage::media::{self, Content};
use types::random;

use crate::{Error, Interrupted, Media};

/// The longest content type and file name that are stored, in characters.
const MAX_CHARS: usize = 255;

/// The content of an upload, as a stream.
pub type Body = BoxStream<'static, Result<Bytes, Interrupted>>;

/// An upload.
pub struct Upload {
    /// The content type, if the client sent one.
    pub content_type: Option<String>,
    /// The file name, if the client sent one.
    pub filename: Option<String>,
    /// The content.
    pub body: Body,
}

impl Media {
    /// Stores a file and returns its URI.
    #[tracing::instrument(name = "media.upload", skip_all, fields(user.id = %user_id), err(level = "debug"))]
    pub async fn upload(&self, user_id: &UserId, upload: Upload) -> Result<OwnedMxcUri, Error> {
        let content = self.store(upload).await?;
        let media_id = random::token()?;
        let mut db = self.inner().database.acquire().await?;
        let now_ms = self.inner().clock.now_ms();
        let server_name = &self.inner().server_name;
        media::insert(
            &mut db,
            server_name,
            &media_id,
            Some(user_id),
            &content,
            now_ms,
        )
        .await?;
        Ok(self.uri(&media_id))
    }

    /// Stores the content without a media id.
    pub(crate) async fn store(&self, upload: Upload) -> Result<Content, Error> {
        let inner = self.inner();
        let stored = inner
            .store
            .write(upload.body, inner.max_upload_bytes)
            .await?;
        Ok(Content {
            sha256: stored.sha256,
            size: stored.size,
            content_type: upload.content_type.filter(|text| is_media_type(text)),
            filename: upload
                .filename
                .map(|name| printable(&name))
                .filter(|name| !name.is_empty()),
        })
    }
}

/// Whether the text is valid in a header.
fn is_media_type(text: &str) -> bool {
    (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_CHARS)
        .collect()
}
