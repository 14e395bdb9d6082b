//! Fetches files of other servers, each once at a time, however many requests wait for it.
//!
//! A fetch writes into a temporary file, which the requests read from while it grows.

use std::{collections::HashMap, fs::File, sync::Arc, time::Duration};

use bytes::Bytes;
use federation::MediaFile;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use storage::media::{Content, cache};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tracing::Instrument as _;
use types::{ErrorKind, Fault as _};

use crate::{
    Download, Error, Media,
    metrics::{self, Served},
    store::{Hashed, ObjectName, read_at},
    upload::{valid_content_type, valid_filename},
};

/// Files that are fetched at the same time, in all and from one server.
const MAX_FETCHES: usize = 64;
const MAX_FETCHES_BY_ORIGIN: usize = 8;
/// The most fetches, those that wait for their turn included.
const MAX_WAITING: usize = 2_000;
/// How long a file that could not be had is not asked for again, and how many such files are remembered.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
const MAX_FAILURES: u64 = 10_000;
/// The most that a request reads at once.
const CHUNK_BYTES: u64 = 256 * 1024;
/// The most parts of a response that are written at once.
const MAX_PARTS: usize = 32;

type Key = (OwnedServerName, String);

/// The fetches of this process.
#[derive(Debug)]
pub(crate) struct Fetches {
    running: Mutex<Running>,
    failures: Cache<Key, Arc<Error>>,
    permits: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Running {
    fetches: HashMap<Key, watch::Receiver<Progress>>,
    origins: HashMap<OwnedServerName, Arc<Semaphore>>,
    tasks: JoinSet<()>,
}

/// How far a fetch is.
#[derive(Clone, Debug, Default)]
struct Progress {
    head: Option<Arc<Head>>,
    /// The bytes that can be read from the file.
    written: u64,
    outcome: Option<Result<(), Arc<Error>>>,
}

/// What is known of a file when it begins to arrive.
#[derive(Debug)]
pub(crate) struct Head {
    content_type: Option<String>,
    filename: Option<String>,
    size: Option<u64>,
    file: Arc<File>,
}

/// A fetch, as a request waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Fetching(watch::Receiver<Progress>);

/// The right to fetch from a server.
pub(crate) struct Permits {
    _of_origin: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for Fetches {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            failures: Cache::builder()
                .max_capacity(MAX_FAILURES)
                .time_to_live(RETRY_INTERVAL)
                .build(),
            permits: Arc::new(Semaphore::new(MAX_FETCHES)),
        }
    }
}

impl Fetches {
    /// Waits until a file may be fetched from a server. `None` never happens: nobody closes the semaphores.
    pub(crate) async fn permits(&self, origin: &ServerName) -> Option<Permits> {
        let of_origin = {
            let mut running = self.running.lock();
            if running.origins.len() >= MAX_WAITING {
                // Those that nobody fetches from.
                let is_used = |permits: &mut Arc<Semaphore>| Arc::strong_count(permits) > 1;
                running.origins.retain(|_, permits| is_used(permits));
            }
            let new = || Arc::new(Semaphore::new(MAX_FETCHES_BY_ORIGIN));
            let semaphore = running.origins.entry(origin.to_owned()).or_insert_with(new);
            Arc::clone(semaphore)
        };
        Some(Permits {
            _of_origin: of_origin.acquire_owned().await.ok()?,
            _of_all: Arc::clone(&self.permits).acquire_owned().await.ok()?,
        })
    }
}

impl Media {
    /// Joins the fetch of a file, or starts one, for which the file's server waits up to `wait`.
    pub(crate) fn join_or_start(
        &self,
        origin: &ServerName,
        media_id: &str,
        wait: Duration,
    ) -> Result<(Fetching, Served), Error> {
        let key = (origin.to_owned(), media_id.to_owned());
        let fetches = &self.inner().fetches;
        let mut running = fetches.running.lock();
        if let Some(progress) = running.fetches.get(&key) {
            return Ok((Fetching(progress.clone()), Served::Joined));
        }
        if let Some(error) = fetches.failures.get(&key) {
            return Err(Error::Fetch(error));
        }
        // Ended tasks have said their outcome.
        while running.tasks.try_join_next().is_some() {}
        if running.fetches.len() >= MAX_WAITING {
            return Err(Error::TooManyFetches);
        }
        let (sender, progress) = watch::channel(Progress::default());
        running.fetches.insert(key.clone(), progress.clone());
        let fetch = Fetch {
            media: self.clone(),
            key,
            progress: sender,
        };
        let span = tracing::info_span!("media.fetch", server.name = %origin);
        running.tasks.spawn(fetch.run(wait).instrument(span));
        Ok((Fetching(progress), Served::Fetched))
    }
}

/// A fetch; it goes on when the requests that wait for it are gone.
struct Fetch {
    media: Media,
    key: Key,
    progress: watch::Sender<Progress>,
}

impl Fetch {
    async fn run(self, wait: Duration) {
        let outcome = self.fetch(wait).await;
        metrics::record_fetch(outcome.as_ref().copied());
        let outcome = outcome.map(|_| ()).map_err(Arc::new);
        if let Err(error) = &outcome {
            tracing::info!(%error, "A file of another server could not be fetched");
            let is_lasting = matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::RemoteTooLarge | ErrorKind::BadGateway
            );
            if is_lasting {
                let failures = &self.media.inner().fetches.failures;
                failures.insert(self.key.clone(), Arc::clone(error));
            }
        }
        self.progress
            .send_modify(|progress| progress.outcome = Some(outcome));
    }

    /// The size of the file.
    async fn fetch(&self, wait: Duration) -> Result<u64, Error> {
        let inner = self.media.inner();
        let (origin, media_id) = &self.key;
        let _permits = inner.fetches.permits(origin).await;
        let file = inner.federation.download_media(origin, media_id, wait);
        let mut file = file.await?;
        if file.size.is_some_and(|size| size > inner.max_remote_bytes) {
            return Err(Error::RemoteTooLarge);
        }
        let content_type = valid_content_type(file.content_type.take());
        let filename = valid_filename(file.filename.take());
        let mut staged = inner.store.stage().await?;
        let head = Head {
            content_type: content_type.clone(),
            filename: filename.clone(),
            size: file.size,
            file: staged.file(),
        };
        self.progress
            .send_modify(|progress| progress.head = Some(Arc::new(head)));
        let mut content = Hashed::new(inner.max_remote_bytes);
        let mut chunks = std::pin::pin!(chunks(file).ready_chunks(MAX_PARTS));
        while let Some(parts) = chunks.next().await {
            let parts = parts.into_iter().map(|part| content.add(part?));
            let parts: Vec<Bytes> = parts.collect::<Result<_, _>>().map_err(remote_too_large)?;
            staged.write(parts).await?;
            self.progress
                .send_modify(|progress| progress.written = content.size);
        }
        let stored = content.finish();
        let name = ObjectName::remote(origin, media_id);
        inner.store.keep(staged, &name).await?;
        let content = Content {
            sha256: stored.sha256,
            size: stored.size,
            content_type,
            filename,
        };
        let mut db = inner.database.acquire().await?;
        let now_ms = inner.clock.now_ms();
        cache::insert(&mut db, origin, media_id, &content, now_ms).await?;
        inner.cache.add(content.size);
        Ok(content.size)
    }
}

impl Drop for Fetch {
    /// From now on requests find the file in the cache, or start a new fetch.
    fn drop(&mut self) {
        let mut running = self.media.inner().fetches.running.lock();
        running.fetches.remove(&self.key);
    }
}

impl Fetching {
    /// Waits until the file begins to arrive.
    pub(crate) async fn begun(&mut self) -> Result<Arc<Head>, Error> {
        let is_begun = |progress: &Progress| progress.head.is_some() || progress.outcome.is_some();
        let progress = self.0.wait_for(is_begun).await;
        let progress = progress.map_err(|_| Error::FetchAborted)?.clone();
        match (progress.head, progress.outcome) {
            (_, Some(Err(error))) => Err(Error::Fetch(error)),
            (Some(head), _) => Ok(head),
            (None, _) => Err(Error::FetchAborted),
        }
    }

    /// Waits until the file is in the cache.
    pub(crate) async fn finished(&mut self) -> Result<(), Error> {
        let progress = self.0.wait_for(|progress| progress.outcome.is_some()).await;
        let progress = progress.map_err(|_| Error::FetchAborted)?;
        match &progress.outcome {
            Some(Err(error)) => Err(Error::Fetch(Arc::clone(error))),
            _ => Ok(()),
        }
    }

    /// The file, read while it arrives.
    pub(crate) fn into_download(self, head: &Arc<Head>) -> Download {
        Download {
            content_type: head.content_type.clone(),
            filename: head.filename.clone(),
            size: head.size,
            range: None,
            body: self.read(Arc::clone(head)),
        }
    }

    fn read(self, head: Arc<Head>) -> BoxStream<'static, Result<Bytes, Error>> {
        let start = (self, head, 0);
        stream::try_unfold(start, async |(mut fetching, head, position)| {
            let chunk = fetching.chunk(&head, position).await?;
            Ok(chunk.map(|bytes| {
                let position = position + bytes.len() as u64;
                (bytes, (fetching, head, position))
            }))
        })
        .boxed()
    }

    async fn chunk(&mut self, head: &Head, position: u64) -> Result<Option<Bytes>, Error> {
        let has_more =
            |progress: &Progress| progress.written > position || progress.outcome.is_some();
        let progress = self.0.wait_for(has_more).await;
        let progress = progress.map_err(|_| Error::FetchAborted)?.clone();
        if progress.written > position {
            let length = (progress.written - position).min(CHUNK_BYTES) as usize;
            let file = Arc::clone(&head.file);
            return read_at(file, position, length).await.map(Some);
        }
        match progress.outcome {
            Some(Err(error)) => Err(Error::Fetch(error)),
            _ => Ok(None),
        }
    }
}

fn chunks(file: MediaFile) -> impl futures::Stream<Item = Result<Bytes, Error>> {
    stream::try_unfold(file, async |mut file| {
        let chunk = file.chunk().await?;
        Ok(chunk.map(|bytes| (bytes, file)))
    })
}

fn remote_too_large(error: Error) -> Error {
    match error {
        Error::TooLarge => Error::RemoteTooLarge,
        error => error,
    }
}
