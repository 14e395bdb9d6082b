//! A temporary file for content that is read while it is received.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use rustix::buffer::spare_capacity;
use tokio::task::spawn_blocking;

use super::UPLOADS;
use crate::Error;

/// A temporary file; it is removed when it is dropped, unless it was given a name.
#[derive(Debug)]
pub(crate) struct Staged {
    file: Arc<File>,
    path: ObjectPath,
    file_path: PathBuf,
    size: u64,
    is_kept: bool,
}

impl Staged {
    pub(super) async fn create(folder: &Path, name: String) -> Result<Self, Error> {
        let path = ObjectPath::from(format!("{UPLOADS}/{name}"));
        let uploads = folder.join(UPLOADS);
        let file_path = uploads.join(name);
        let (file, file_path) = blocking(move || {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create_new(true);
            let file = match options.open(&file_path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    fs::create_dir_all(&uploads)?;
                    options.open(&file_path)?
                }
                opened => opened?,
            };
            Ok((file, file_path))
        })
        .await?;
        Ok(Self {
            file: Arc::new(file),
            path,
            file_path,
            size: 0,
            is_kept: false,
        })
    }

    /// The file, for readers.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Appends bytes.
    pub(crate) async fn write(&mut self, parts: Vec<Bytes>) -> Result<(), Error> {
        let (file, start) = (self.file(), self.size);
        self.size = blocking(move || {
            let mut position = start;
            for bytes in parts {
                file.write_all_at(&bytes, position)?;
                position += bytes.len() as u64;
            }
            Ok(position)
        })
        .await?;
        Ok(())
    }

    pub(super) async fn sync(&self) -> Result<(), Error> {
        let file = self.file();
        blocking(move || file.sync_data()).await
    }

    pub(super) fn path(&self) -> &ObjectPath {
        &self.path
    }

    /// The file has another name now.
    pub(super) fn disarm(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = fs::remove_file(&self.file_path)
        {
            tracing::warn!(%error, "A temporary file of the media store could not be removed");
        }
    }
}

/// Reads at most `length` bytes of a file, at least one.
pub(crate) async fn read_at(file: Arc<File>, position: u64, length: usize) -> Result<Bytes, Error> {
    blocking(move || {
        let mut bytes = Vec::with_capacity(length);
        // More may be allocated than was asked for.
        rustix::io::pread(&file, spare_capacity(&mut bytes), position)?;
        bytes.truncate(length);
        if bytes.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(Bytes::from(bytes))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(work).await.map_err(std::io::Error::other)?;
    Ok(done?)
}
