//! The content store: an object store, each object named after the hash of its content.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    GetOptions, GetResultPayload, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart,
    local::LocalFileSystem, path::Path as ObjectPath,
};
use ring::digest;

use crate::{Body, Error};

/// The part size; at most two parts of an upload are in memory.
const PART_BYTES: usize = 1024 * 1024;
/// What a download reads at once.
const CHUNK_BYTES: u64 = 256 * 1024;
/// The folder of uploads whose hash is not known yet.
const UPLOADS: &str = "uploads";
/// The age after which an unfinished upload is considered abandoned.
const ABANDONED_MS: u64 = 24 * 60 * 60 * 1000;

/// The object store.
#[derive(Debug)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    folder: PathBuf,
}

/// A stored object.
pub(crate) struct StoredObject {
    pub(crate) sha256: Vec<u8>,
    pub(crate) size: u64,
}

impl Store {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        // Without fsync an acknowledged upload could be lost in a power failure.
        let objects = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self {
            objects: Arc::new(objects),
            folder: folder.to_owned(),
        })
    }

    /// Removes abandoned uploads, which only a crash leaves behind.
    pub(crate) fn delete_abandoned_uploads(&self, now_ms: u64) -> Result<(), Error> {
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

    /// Stores content of at most `limit` bytes. If that fails or is cancelled, nothing is kept.
    pub(crate) async fn write(&self, mut body: Body, limit: u64) -> Result<StoredObject, Error> {
        let mut content = Hashed::new(limit);
        let mut start = Vec::new();
        while content.size <= PART_BYTES as u64 {
            let Some(bytes) = body.next().await else {
                // Written at once: the name is known before the first byte is stored.
                let stored = content.finish();
                let payload = PutPayload::from_iter(start);
                self.objects.put(&path(&stored.sha256), payload).await?;
                return Ok(stored);
            };
            start.push(content.add(bytes?)?);
        }
        self.write_staged(content, start, body).await
    }

    /// Stores content under a temporary name until its hash is known.
    async fn write_staged(
        &self,
        mut content: Hashed,
        start: Vec<Bytes>,
        mut body: Body,
    ) -> Result<StoredObject, Error> {
        let staged = ObjectPath::from(format!("{UPLOADS}/{}", types::random::token()?));
        // Removes the partial file if dropped before it is finished.
        let upload = self.objects.put_multipart(&staged).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for bytes in start {
            upload.put(bytes);
        }
        while let Some(bytes) = body.next().await {
            let bytes = content.add(bytes?)?;
            upload.wait_for_capacity(1).await?;
            upload.put(bytes);
        }
        upload.finish().await?;
        let stored = content.finish();
        // If the same content exists already, it is replaced by itself.
        let name = path(&stored.sha256);
        if let Err(error) = self.objects.rename(&staged, &name).await {
            self.objects.delete(&staged).await?;
            return Err(error.into());
        }
        Ok(stored)
    }

    /// Streams an object.
    pub(crate) async fn read(
        &self,
        sha256: &[u8],
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let object = self.objects.get(&path(sha256)).await?;
        let size = object.range.end - object.range.start;
        match object.payload {
            GetResultPayload::File(file, _) => Ok(read_chunks(file, size).boxed()),
            GetResultPayload::Stream(stream) => Ok(stream.map_err(Error::from).boxed()),
        }
    }

    /// Reads an object into memory.
    pub(crate) async fn read_all(&self, sha256: &[u8]) -> Result<Bytes, Error> {
        Ok(self.objects.get(&path(sha256)).await?.bytes().await?)
    }

    /// Reads the first `bytes` of an object, or all of a shorter one.
    pub(crate) async fn read_start(&self, sha256: &[u8], bytes: u64) -> Result<Bytes, Error> {
        let options = GetOptions::default().with_range(Some(0..bytes));
        let object = self.objects.get_opts(&path(sha256), options).await?;
        Ok(object.bytes().await?)
    }

    /// A stored thumbnail of an object.
    pub(crate) async fn thumbnail(
        &self,
        sha256: &[u8],
        name: &str,
    ) -> Result<Option<Bytes>, Error> {
        match self.objects.get(&thumbnail_path(sha256, name)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a thumbnail of an object.
    pub(crate) async fn store_thumbnail(
        &self,
        sha256: &[u8],
        name: &str,
        bytes: Bytes,
    ) -> Result<(), Error> {
        self.objects
            .put(&thumbnail_path(sha256, name), bytes.into())
            .await?;
        Ok(())
    }
}

/// Content while it is received.
struct Hashed {
    hash: digest::Context,
    size: u64,
    limit: u64,
}

impl Hashed {
    fn new(limit: u64) -> Self {
        Self {
            hash: digest::Context::new(&digest::SHA256),
            size: 0,
            limit,
        }
    }

    /// Adds the next bytes and returns them; an error if there are more than the limit.
    fn add(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(Error::TooLarge);
        }
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn finish(self) -> StoredObject {
        StoredObject {
            sha256: self.hash.finish().as_ref().to_vec(),
            size: self.size,
        }
    }
}

/// Reads the first `size` bytes of a file, one chunk after the other as they are wanted.
fn read_chunks(file: File, size: u64) -> impl Stream<Item = Result<Bytes, Error>> {
    stream::try_unfold((file, size), async |(mut file, remaining)| {
        if remaining == 0 {
            return Ok(None);
        }
        let read = move || {
            let length = remaining.min(CHUNK_BYTES);
            let mut chunk = Vec::with_capacity(length as usize);
            (&mut file).take(length).read_to_end(&mut chunk)?;
            Ok::<_, std::io::Error>((chunk, file))
        };
        let (chunk, file) = tokio::task::spawn_blocking(read)
            .await
            .map_err(std::io::Error::other)??;
        if chunk.is_empty() {
            return Err(Error::Folder(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let remaining = remaining.saturating_sub(chunk.len() as u64);
        Ok(Some((Bytes::from(chunk), (file, remaining))))
    })
}

/// The object's path, in two levels so that no folder gets too many entries.
fn path(sha256: &[u8]) -> ObjectPath {
    let (folder, name) = names(sha256);
    ObjectPath::from(format!("content/{folder}/{name}"))
}

fn thumbnail_path(sha256: &[u8], thumbnail: &str) -> ObjectPath {
    let (folder, name) = names(sha256);
    ObjectPath::from(format!("derived/{folder}/{name}/{thumbnail}"))
}

fn names(sha256: &[u8]) -> (String, String) {
    let mut name = String::with_capacity(64);
    for byte in sha256 {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    (name.get(..2).unwrap_or_default().to_owned(), name)
}
