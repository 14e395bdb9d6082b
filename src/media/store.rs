//! The content store: an object store. Files of this server are named after the hash of their content, copies of other servers'
//! files after their URI.

mod staged;

use std::{
    fmt::Write as _,
    fs::{self, File},
    ops::Range,
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
use ruma::ServerName;

pub(crate) use staged::{Staged, read_at};

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

/// The name of a stored file.
#[derive(Clone, Debug)]
pub(crate) enum ObjectName {
    /// A file of this server, by the hash of its content.
    Local(String),
    /// A copy of another server's file, by the hash of its URI.
    Remote(String),
}

/// What is known of content that was stored.
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
                let name = ObjectName::local(&stored.sha256);
                self.objects.put(&name.path(), payload).await?;
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
        let name = ObjectName::local(&stored.sha256).path();
        if let Err(error) = self.objects.rename(&staged, &name).await {
            self.objects.delete(&staged).await?;
            return Err(error.into());
        }
        Ok(stored)
    }

    /// Streams an object, or a part of it.
    pub(crate) async fn read(
        &self,
        name: &ObjectName,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let options = GetOptions::default().with_range(range);
        let object = self.objects.get_opts(&name.path(), options).await?;
        match object.payload {
            GetResultPayload::File(file, _) => Ok(read_chunks(file, object.range).boxed()),
            GetResultPayload::Stream(stream) => Ok(stream.map_err(Error::from).boxed()),
        }
    }

    /// Whether there is an object.
    pub(crate) async fn exists(&self, name: &ObjectName) -> Result<bool, Error> {
        match self.objects.head(&name.path()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads an object into memory.
    pub(crate) async fn read_all(&self, name: &ObjectName) -> Result<Bytes, Error> {
        Ok(self.objects.get(&name.path()).await?.bytes().await?)
    }

    /// Reads the first `bytes` of an object, or all of a shorter one.
    pub(crate) async fn read_start(&self, name: &ObjectName, bytes: u64) -> Result<Bytes, Error> {
        let options = GetOptions::default().with_range(Some(0..bytes));
        let object = self.objects.get_opts(&name.path(), options).await?;
        Ok(object.bytes().await?)
    }

    /// A stored thumbnail of an object.
    pub(crate) async fn thumbnail(
        &self,
        name: &ObjectName,
        size: &str,
    ) -> Result<Option<Bytes>, Error> {
        match self.objects.get(&name.thumbnail_path(size)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a thumbnail of an object.
    pub(crate) async fn store_thumbnail(
        &self,
        name: &ObjectName,
        size: &str,
        bytes: Bytes,
    ) -> Result<(), Error> {
        self.objects
            .put(&name.thumbnail_path(size), bytes.into())
            .await?;
        Ok(())
    }

    /// A temporary file for content that is read while it is received.
    pub(crate) async fn stage(&self) -> Result<Staged, Error> {
        Staged::create(&self.folder, types::random::token()?).await
    }

    /// Gives received content its name.
    pub(crate) async fn keep(&self, mut staged: Staged, name: &ObjectName) -> Result<(), Error> {
        staged.sync().await?;
        self.objects.rename(staged.path(), &name.path()).await?;
        staged.disarm();
        Ok(())
    }

    /// Removes an object and its thumbnails of these sizes.
    pub(crate) async fn delete(
        &self,
        name: &ObjectName,
        sizes: impl Iterator<Item = String>,
    ) -> Result<(), Error> {
        let paths = [name.path()].into_iter();
        for path in paths.chain(sizes.map(|size| name.thumbnail_path(&size))) {
            match self.objects.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Content while it is received.
pub(crate) struct Hashed {
    hash: digest::Context,
    pub(crate) size: u64,
    limit: u64,
}

impl Hashed {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            hash: digest::Context::new(&digest::SHA256),
            size: 0,
            limit,
        }
    }

    /// Adds the next bytes and returns them; an error if there are more than the limit.
    pub(crate) fn add(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(Error::TooLarge);
        }
        self.hash.update(&bytes);
        Ok(bytes)
    }

    pub(crate) fn finish(self) -> StoredObject {
        StoredObject {
            sha256: self.hash.finish().as_ref().to_vec(),
            size: self.size,
        }
    }
}

/// Reads a part of a file, one chunk after the other as they are wanted.
fn read_chunks(file: File, range: Range<u64>) -> impl Stream<Item = Result<Bytes, Error>> {
    let start = (Arc::new(file), range);
    stream::try_unfold(start, async |(file, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        let length = (range.end - range.start).min(CHUNK_BYTES) as usize;
        let chunk = read_at(Arc::clone(&file), range.start, length).await?;
        let rest = range.start + chunk.len() as u64..range.end;
        Ok(Some((chunk, (file, rest))))
    })
}

impl ObjectName {
    /// The name of content with this hash.
    pub(crate) fn local(sha256: &[u8]) -> Self {
        Self::Local(hex(sha256))
    }

    /// The name of the copy of a file.
    pub(crate) fn remote(origin: &ServerName, media_id: &str) -> Self {
        let uri = format!("{origin}/{media_id}");
        Self::Remote(hex(digest::digest(&digest::SHA256, uri.as_bytes()).as_ref()))
    }

    /// In two levels so that no folder gets too many entries.
    fn path(&self) -> ObjectPath {
        let (kind, name) = match self {
            Self::Local(name) => ("content", name),
            Self::Remote(name) => ("remote", name),
        };
        ObjectPath::from(format!("{kind}/{}/{name}", first_level(name)))
    }

    fn thumbnail_path(&self, size: &str) -> ObjectPath {
        ObjectPath::from(match self {
            Self::Local(name) => format!("derived/{}/{name}/{size}", first_level(name)),
            Self::Remote(name) => format!("remote/{}/{name}-{size}", first_level(name)),
        })
    }
}

fn first_level(name: &str) -> &str {
    name.get(..2).unwrap_or_default()
}

fn hex(hash: &[u8]) -> String {
    let mut name = String::with_capacity(64);
    for byte in hash {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}
