//! Group commit: whatever waits, of many rooms and many kinds, is written in one transaction.

use std::{sync::Arc, time::Duration};

use ruma::OwnedEventId;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use types::{ErrorKind, Fault, StreamPosition};

use crate::{Changes, Database, Error, rooms::RoomWrite};

mod locked;
mod repeated;
mod write;
mod writer;

pub use locked::commit_locked;
use write::Lost;
use writer::Writer;

/// Write sets in one transaction at the most.
const BATCH: usize = 1024;
/// Write sets that may wait before requests wait to hand theirs over.
const WAITING: usize = 16_384;
/// How long a connection is kept that is not written to.
const LINGER: Duration = Duration::from_secs(1);

/// All that one request wants to be durable, or nothing of it.
#[derive(Debug, Default)]
pub struct WriteSet {
    /// What it does to a room's head; its events are among the changes.
    pub room: Option<RoomWrite>,
    /// What clients learn about.
    pub changes: Changes,
}

/// Why a write set was not committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Another process wrote to the room first, or what this was built on failed: load the room anew.
    #[error("The room has changed meanwhile")]
    Conflict,
    /// The device's transaction made this event before; nothing was written.
    #[error("The transaction made {0} before")]
    Repeated(OwnedEventId),
    /// The database failed; the write may or may not be there.
    #[error("The database did not commit")]
    Failed(#[source] Arc<Error>),
    /// The server is stopping.
    #[error("The server is stopping")]
    Stopping,
}

impl Fault for CommitError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict | Self::Stopping => ErrorKind::Unavailable,
            Self::Repeated(_) => ErrorKind::Internal,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl WriteSet {
    fn is_kept(&self, lost: &Lost) -> bool {
        let room = self.room.as_ref();
        room.is_none_or(|room| !lost.contains(&room.room_nid))
    }
}

type Answer = Result<StreamPosition, CommitError>;

#[derive(Debug)]
struct Submission {
    set: WriteSet,
    answer: oneshot::Sender<Answer>,
}

/// Hands write sets over to be committed.
#[derive(Clone, Debug)]
pub struct Committer {
    queue: mpsc::Sender<Submission>,
}

/// A write set on its way to the disk.
#[derive(Debug)]
pub struct Commit(oneshot::Receiver<Answer>);

impl Commit {
    /// Waits until the write set is durable; returns the position of its last change.
    pub async fn durable(self) -> Answer {
        self.0.await.unwrap_or(Err(CommitError::Stopping))
    }
}

impl Committer {
    /// A committer and the task that must run for it to work; the task ends when all clones of the
    /// committer are gone and everything handed over is written.
    pub fn new(database: Database) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Self { queue }, run(database, waiting))
    }

    /// Hands a write set over. Sets of one room are written in the order in which they are handed
    /// over, so the caller holds the room's lock.
    pub async fn submit(&self, set: WriteSet) -> Commit {
        let (answer, receiver) = oneshot::channel();
        // When the queue is closed the answer's sender is dropped, which reads as `Stopping`.
        let _closed = self.queue.send(Submission { set, answer }).await;
        Commit(receiver)
    }
}

async fn run(database: Database, mut waiting: mpsc::Receiver<Submission>) {
    let mut writer = Writer::new(database);
    let mut batch = Vec::new();
    loop {
        let received = timeout(LINGER, waiting.recv_many(&mut batch, BATCH)).await;
        let received = if let Ok(received) = received {
            received
        } else {
            writer.rest();
            waiting.recv_many(&mut batch, BATCH).await
        };
        if received == 0 {
            return;
        }
        metrics::histogram!("chancery_storage_commit_batch_sets").record(received as f64);
        commit_batch(&mut writer, std::mem::take(&mut batch)).await;
    }
}

async fn commit_batch(writer: &mut Writer, batch: Vec<Submission>) {
    let (sets, answers): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|submission| (submission.set, submission.answer))
        .unzip();
    let sets: Vec<&WriteSet> = sets.iter().collect();
    for (answer, result) in answers.into_iter().zip(writer.write_all(&sets).await) {
        // Whoever asked may have gone away; what is written stays.
        let _gone = answer.send(result);
    }
}
