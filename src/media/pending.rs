//! Media ids created before their content is uploaded (asynchronous uploads).

use ruma::{OwnedMxcUri, ServerName, UserId};
use storage::media::{self, Media as MediaRow};
use types::random;

use crate::{Error, Media, Upload};

/// How long a pending media id is valid, as the specification recommends.
const LIFETIME_MS: u64 = 24 * 60 * 60 * 1000;
/// The most pending media ids per user.
const MAX_PENDING: i64 = 100;

/// A media id without content.
#[derive(Clone, Debug)]
pub struct PendingMedia {
    /// The URI.
    pub uri: OwnedMxcUri,
    /// When it expires unless content is uploaded, in milliseconds since the epoch.
    pub expires_ts: u64,
}

impl Media {
    /// Creates a media id whose content is uploaded later.
    pub async fn create(&self, user_id: &UserId) -> Result<PendingMedia, Error> {
        let now_ms = self.inner().clock.now_ms();
        let expires_ts = now_ms + LIFETIME_MS;
        let media_id = random::token()?;
        let pending = media::NewPending {
            media_id: &media_id,
            user_id,
            now_ms,
            expires_ts,
        };
        let mut db = self.inner().database.acquire().await?;
        let inserted =
            media::insert_pending(&mut db, &self.inner().server_name, pending, MAX_PENDING).await?;
        if !inserted {
            return Err(Error::TooManyPending);
        }
        Ok(PendingMedia {
            uri: self.uri(&media_id),
            expires_ts,
        })
    }

    /// Stores the content of a pending media id and notifies waiting downloads.
    #[tracing::instrument(name = "media.upload_to", skip_all, fields(user.id = %user_id), err(level = "debug"))]
    pub async fn upload_to(
        &self,
        user_id: &UserId,
        server_name: &ServerName,
        media_id: &str,
        upload: Upload,
    ) -> Result<(), Error> {
        // Checked before anything is written.
        match self.find(server_name, media_id).await? {
            MediaRow::Uploaded(_) => return Err(Error::AlreadyUploaded),
            MediaRow::Pending { user_id: owner, .. } if owner != *user_id => {
                return Err(Error::WrongOwner);
            }
            MediaRow::Pending { .. } => {}
            MediaRow::Quarantined => return Err(Error::NotFound),
        }
        let content = self.store(user_id, upload).await?;
        let mut db = self.inner().database.acquire().await?;
        let now_ms = self.inner().clock.now_ms();
        let completed =
            media::complete(&mut db, server_name, media_id, user_id, &content, now_ms).await?;
        if !completed {
            return Err(Error::AlreadyUploaded);
        }
        // Fails only if there are no receivers.
        let _receivers = self.inner().completed.send(media_id.to_owned());
        Ok(())
    }

    /// The current row of a media id.
    pub(crate) async fn find(
        &self,
        server_name: &ServerName,
        media_id: &str,
    ) -> Result<MediaRow, Error> {
        let inner = self.inner();
        if !self.is_local(server_name) || !is_media_id(media_id) {
            return Err(Error::NotFound);
        }
        let mut db = inner.database.acquire().await?;
        let now_ms = inner.clock.now_ms();
        match media::find(&mut db, server_name, media_id).await? {
            None | Some(MediaRow::Quarantined) => Err(Error::NotFound),
            Some(MediaRow::Pending { expires_ts, .. }) if expires_ts as u64 <= now_ms => {
                Err(Error::NotFound)
            }
            Some(known) => Ok(known),
        }
    }
}

/// Spec: client-server, "Security considerations" of the content repository.
pub(crate) fn is_media_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}
