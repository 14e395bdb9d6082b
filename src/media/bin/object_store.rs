//! What the benchmark compares uploads and downloads with: the local file system by `object_store`
//! and SHA-256, without a server around them.
//!
//! `object_store up FOLDER COUNT` writes as many files of 1 MiB, each under its hash;
//! `object_store down FOLDER COUNT` reads as many of them.

use std::{env, error::Error, fs, path::Path};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{
    ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem, path::Path as ObjectPath,
};
use ring::digest;

const FILE_BYTES: usize = 1024 * 1024;
/// As they come from a socket.
const CHUNK_BYTES: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [direction, folder, count] = arguments.as_slice() else {
        return Err("usage: object_store up|down FOLDER COUNT".into());
    };
    fs::create_dir_all(folder)?;
    let store = LocalFileSystem::new_with_prefix(Path::new(folder))?.with_fsync(true);
    let count: u64 = count.parse()?;
    match direction.as_str() {
        "up" => up(&store, count).await,
        "down" => down(&store, count).await,
        _ => Err(format!("{direction} is neither up nor down").into()),
    }
}

async fn up(store: &LocalFileSystem, count: u64) -> Result<(), Box<dyn Error>> {
    let rest = Bytes::from(vec![0x5a; FILE_BYTES - CHUNK_BYTES]);
    for number in 0..count {
        let first = Bytes::from(number.to_be_bytes().repeat(CHUNK_BYTES / size_of::<u64>()));
        let staged = ObjectPath::from(format!("uploads/{number}"));
        let upload = store.put_multipart(&staged).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, FILE_BYTES);
        let mut hash = digest::Context::new(&digest::SHA256);
        let chunks = (0..rest.len() / CHUNK_BYTES)
            .map(|i| rest.slice(i * CHUNK_BYTES..(i + 1) * CHUNK_BYTES));
        for chunk in [first].into_iter().chain(chunks) {
            hash.update(&chunk);
            upload.put(chunk);
        }
        upload.finish().await?;
        let name = hash
            .finish()
            .as_ref()
            .iter()
            .fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
        store
            .rename(&staged, &ObjectPath::from(format!("content/{name}")))
            .await?;
    }
    Ok(())
}

async fn down(store: &LocalFileSystem, count: u64) -> Result<(), Box<dyn Error>> {
    let found = store.list(Some(&ObjectPath::from("content")));
    let found: Vec<_> = found.try_collect().await?;
    if found.is_empty() {
        return Err("there are no files to read; write some first".into());
    }
    for file in found.iter().cycle().take(usize::try_from(count)?) {
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut chunks = store.get(&file.location).await?.into_stream();
        while let Some(chunk) = chunks.next().await {
            hash.update(&chunk?);
        }
        if hash.finish().as_ref().iter().all(|byte| *byte == 0) {
            return Err(format!("{} cannot be read", file.location).into());
        }
    }
    Ok(())
}
