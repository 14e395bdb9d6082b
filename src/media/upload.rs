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
        let content = self.store(user_id, upload).await?;
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

    /// Stores the content without a media id; nothing is stored of what exceeds a limit.
    ///
    /// Simultaneous uploads may exceed the user's limit together.
    pub(crate) async fn store(&self, user_id: &UserId, upload: Upload) -> Result<Content, Error> {
        let inner = self.inner();
        let mut db = inner.database.acquire().await?;
        let used = media::user_bytes(&mut db, user_id).await?;
        drop(db);
        let unused = inner.limits.media_per_user.get().saturating_sub(used);
        let limit = inner.max_upload_bytes.min(unused);
        let stored = match inner.store.write(upload.body, limit).await {
            Err(Error::TooLarge) if limit < inner.max_upload_bytes => {
                return Err(inner.limits.too_much_media().into());
            }
            stored => stored?,
        };
        Ok(Content {
            sha256: stored.sha256,
            size: stored.size,
            content_type: valid_content_type(upload.content_type),
            filename: valid_filename(upload.filename),
        })
    }
}

/// The content type, if it can be stored and sent in a header.
pub(crate) fn valid_content_type(content_type: Option<String>) -> Option<String> {
    content_type.filter(|text| is_media_type(text))
}

/// The printable part of a file name, within the limit.
pub(crate) fn valid_filename(filename: Option<String>) -> Option<String> {
    let filename = filename.map(|name| printable(&name));
    filename.filter(|name| !name.is_empty())
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
