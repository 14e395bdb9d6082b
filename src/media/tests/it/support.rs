//! A content store in a folder that goes with the test.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use media::{Error, Media, Upload};
use ruma::{MxcUri, OwnedMxcUri, OwnedUserId};
use tempfile::TempDir;
use testkit::TestDatabase;
use types::Clock;

/// The largest file of the tests.
pub(crate) const MAX_BYTES: u64 = 3 * 1024 * 1024;

pub(crate) struct Setting {
    pub(crate) media: Media,
    pub(crate) clock: Clock,
    pub(crate) test: TestDatabase,
    folder: TempDir,
}

pub(crate) async fn setting() -> Setting {
    let test = testkit::database().await;
    let folder = TempDir::new().expect("a folder");
    let clock = Clock::fixed(1_000_000);
    let settings = config::Media {
        max_upload_size: config::ByteSize::mib(3),
    };
    let media = Media::open(
        test.database.clone(),
        &testkit::server_name(),
        clock.clone(),
        &settings,
        &folder.path().join("media"),
    );
    Setting {
        media: media.expect("a store"),
        clock,
        test,
        folder,
    }
}

impl Setting {
    pub(crate) async fn user(&self, name: &str) -> OwnedUserId {
        testkit::register_user(&self.test.database, name).await
    }

    /// The files in the folder, unfinished ones included.
    pub(crate) fn files(&self) -> usize {
        count(self.folder.path())
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
        assert_eq!(content.len() as u64, download.size);
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
