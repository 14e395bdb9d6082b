//! Where contents are: an object store, each object named after the hash of its content.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem, path::Path as ObjectPath,
};
use sha2::{Digest, Sha256};

use crate::{Body, Error};

/// What is written at once; this much of an upload is in memory at the most, twice.
const PART_BYTES: usize = 1024 * 1024;
/// The folder in which an upload is until its hash is known.
const UPLOADS: &str = "uploads";
/// After this time an unfinished upload is not going on any more.
const ABANDONED_MS: u64 = 24 * 60 * 60 * 1000;

/// The object store.
#[derive(Debug)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    folder: PathBuf,
}

/// A content that is on the disk.
pub(crate) struct Stored {
    pub(crate) sha256: Vec<u8>,
    pub(crate) size: u64,
}

impl Store {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        // Without fsync an upload that was answered could be lost with the power.
        let objects = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self {
            objects: Arc::new(objects),
            folder: folder.to_owned(),
        })
    }

    /// Removes unfinished uploads of long ago, which only a crash leaves.
    pub(crate) fn sweep(&self, now_ms: u64) -> Result<(), Error> {
        let entries = match fs::read_dir(self.folder.join(UPLOADS)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            let changed = entry.metadata()?.modified()?;
            let changed_ms = changed
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64);
            if changed_ms.saturating_add(ABANDONED_MS) < now_ms {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes a content of at most `limit` bytes. When that fails, or is given up half-way,
    /// nothing stays.
    pub(crate) async fn write(&self, mut body: Body, limit: u64) -> Result<Stored, Error> {
        let staged = ObjectPath::from(format!("{UPLOADS}/{}", types::random::token()?));
        // Dropped before it is finished, it removes what has been written.
        let upload = self.objects.put_multipart(&staged).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut hash = Sha256::new();
        let mut size = 0;
        while let Some(bytes) = body.next().await {
            let bytes = bytes?;
            size += bytes.len() as u64;
            if size > limit {
                return Err(Error::TooLarge);
            }
            hash.update(&bytes);
            upload.wait_for_capacity(1).await?;
            upload.put(bytes);
        }
        upload.finish().await?;
        let sha256 = hash.finalize().to_vec();
        // The same content may be there already; then it is replaced by itself.
        if let Err(error) = self.objects.rename(&staged, &path(&sha256)).await {
            self.objects.delete(&staged).await?;
            return Err(error.into());
        }
        Ok(Stored { sha256, size })
    }

    /// A content, bit by bit.
    pub(crate) async fn read(
        &self,
        sha256: &[u8],
    ) -> Result<BoxStream<'static, Result<Bytes, object_store::Error>>, Error> {
        Ok(self.objects.get(&path(sha256)).await?.into_stream())
    }

    /// A content as a whole.
    pub(crate) async fn read_all(&self, sha256: &[u8]) -> Result<Bytes, Error> {
        Ok(self.objects.get(&path(sha256)).await?.bytes().await?)
    }

    /// What was derived from a content and kept under a name.
    pub(crate) async fn derived(&self, sha256: &[u8], name: &str) -> Result<Option<Bytes>, Error> {
        match self.objects.get(&derived_path(sha256, name)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps what was derived from a content.
    pub(crate) async fn keep_derived(
        &self,
        sha256: &[u8],
        name: &str,
        bytes: Bytes,
    ) -> Result<(), Error> {
        self.objects
            .put(&derived_path(sha256, name), bytes.into())
            .await?;
        Ok(())
    }
}

/// Two levels, so that no folder gets too many entries.
fn path(sha256: &[u8]) -> ObjectPath {
    let (folder, name) = names(sha256);
    ObjectPath::from(format!("content/{folder}/{name}"))
}

fn derived_path(sha256: &[u8], derived: &str) -> ObjectPath {
    let (folder, name) = names(sha256);
    ObjectPath::from(format!("derived/{folder}/{name}/{derived}"))
}

fn names(sha256: &[u8]) -> (String, String) {
    let mut name = String::with_capacity(64);
    for byte in sha256 {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    (name.get(..2).unwrap_or_default().to_owned(), name)
}
