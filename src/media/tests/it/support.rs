//! A content store in a folder that goes with the test.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use event::Signer;
use federation::{Federation, OwnKeys};
use futures::{StreamExt, TryStreamExt, stream};
use media::{Error, Media, Upload};
use ruma::{MxcUri, OwnedMxcUri, OwnedUserId, UserId};
use tempfile::TempDir;
use testkit::TestDatabase;
use types::Clock;

/// The largest file of the tests.
pub(crate) const MAX_BYTES: u64 = 3 * 1024 * 1024;
/// What the files of a user may take.
pub(crate) const MAX_USER_BYTES: u64 = 16 * 1024 * 1024;

pub(crate) struct Setting {
    pub(crate) media: Media,
    pub(crate) federation: Federation,
    pub(crate) clock: Clock,
    pub(crate) test: TestDatabase,
    folder: TempDir,
}

pub(crate) async fn setting() -> Setting {
    with_federation(&config::Federation::default()).await
}

/// A setting with other servers.
pub(crate) async fn with_federation(settings: &config::Federation) -> Setting {
    let test = testkit::database().await;
    let folder = TempDir::new().expect("a folder");
    let clock = Clock::fixed(1_000_000);
    let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
    let federation = Federation::new(
        &testkit::server_name(),
        settings,
        OwnKeys::new(signer, Duration::from_hours(1)),
        test.database.clone(),
        clock.clone(),
    )
    .expect("a client");
    let settings = config::Media {
        max_upload_size: config::ByteSize::mib(3),
        max_remote_size: config::ByteSize::mib(1),
        remote_cache_size: config::ByteSize::mib(2),
        ..config::Media::default()
    };
    let limits = config::Limits {
        media_per_user: config::ByteSize::mib(16),
        ..config::Limits::default()
    };
    let media = Media::open(
        test.database.clone(),
        federation.clone(),
        &testkit::server_name(),
        clock.clone(),
        (&settings, limits),
        &folder.path().join("media"),
    );
    Setting {
        media: media.expect("a store"),
        federation,
        clock,
        test,
        folder,
    }
}

impl Setting {
    pub(crate) async fn user(&self, name: &str) -> OwnedUserId {
        testkit::register_user(&self.test.database, name).await
    }

    /// Uploads a file.
    pub(crate) async fn upload(&self, user_id: &UserId, content: &'static [u8]) -> OwnedMxcUri {
        let uploaded = self.media.upload(user_id, file(content)).await;
        uploaded.expect("uploaded")
    }

    /// The files in the folder, unfinished ones included.
    pub(crate) fn files(&self) -> usize {
        count(self.folder.path())
    }

    /// Removes all copies of other servers' files behind the server's back.
    pub(crate) fn remove_cached_files(&self) {
        fs::remove_dir_all(self.folder.path().join("media/remote")).expect("copies");
    }

    /// The content of a file, downloaded without waiting for it.
    pub(crate) async fn content(&self, uri: &MxcUri) -> Result<Vec<u8>, Error> {
        self.content_within(uri, Duration::ZERO).await
    }

    pub(crate) async fn content_within(
        &self,
        uri: &MxcUri,
        wait: Duration,
    ) -> Result<Vec<u8>, Error> {
        let (server_name, media_id) = uri.parts().expect("a URI");
        let download = self.media.download(server_name, media_id, wait).await?;
        let parts: Vec<Bytes> = download.body.try_collect().await?;
        let content = parts.concat();
        assert!(
            download
                .size
                .is_none_or(|size| size == content.len() as u64)
        );
        Ok(content)
    }

    pub(crate) async fn upload_to(
        &self,
        user_id: &OwnedUserId,
        uri: &OwnedMxcUri,
        content: &'static [u8],
    ) -> Result<(), Error> {
        let (server_name, media_id) = uri.parts().expect("a URI");
        self.media
            .upload_to(user_id, server_name, media_id, file(content))
            .await
    }
}

fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| if path.is_dir() { count(&path) } else { 1 })
        .sum()
}

/// A text file.
pub(crate) fn file(content: &'static [u8]) -> Upload {
    Upload {
        content_type: Some("text/plain".to_owned()),
        filename: Some("file.txt".to_owned()),
        body: stream::iter([Ok(Bytes::from_static(content))]).boxed(),
    }
}
