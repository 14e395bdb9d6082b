//! Group commit: whatever waits, of many rooms and many kinds, is written in one transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};
use types::{Fault, Kind, RoomNid, StreamPosition};

use crate::{
    Change, Changes, Database, Error,
    feed::Announcement,
    rooms::{NewRoom, RoomWrite},
    stream,
};

mod write;

/// Write sets in one transaction at the most.
const BATCH: usize = 1024;
/// Write sets that may wait before requests wait to hand theirs over.
const WAITING: usize = 16_384;

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
    /// The database failed; the write may or may not be there.
    #[error("The database did not commit")]
    Failed(#[source] Arc<Error>),
    /// The server is stopping.
    #[error("The server is stopping")]
    Stopping,
}

impl Fault for CommitError {
    fn kind(&self) -> Kind {
        match self {
            Self::Conflict | Self::Stopping => Kind::Unavailable,
            Self::Failed(error) => error.kind(),
        }
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
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        metrics::histogram!("chancery_storage_commit_batch_sets").record(batch.len() as f64);
        commit_batch(&database, std::mem::take(&mut batch)).await;
    }
}

/// Commits the batch; when that fails for a reason that may lie in one of the sets, tries each
/// room's sets on their own, so that one cannot take the others down.
async fn commit_batch(database: &Database, batch: Vec<Submission>) {
    let (sets, answers): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|submission| (submission.set, submission.answer))
        .unzip();
    let results = match commit(database, &sets).await {
        Ok(results) => results,
        Err(error) if error.is_unavailable() || sets.len() == 1 => {
            tracing::error!(error = %error, source = ?error, sets = sets.len(), "A batch was not committed");
            let error = Arc::new(error);
            sets.iter()
                .map(|_| Err(CommitError::Failed(error.clone())))
                .collect()
        }
        Err(error) => {
            tracing::warn!(error = %error, source = ?error, "A batch was not committed; its parts are tried one by one");
            commit_parts(database, &sets).await
        }
    };
    for (answer, result) in answers.into_iter().zip(results) {
        // Whoever asked may have gone away; what is written stays.
        let _gone = answer.send(result);
    }
}

async fn commit_parts(database: &Database, sets: &[WriteSet]) -> Vec<Answer> {
    let mut failed: HashSet<RoomNid> = HashSet::new();
    let mut results = Vec::with_capacity(sets.len());
    for set in sets {
        let room = set.room.as_ref().map(|room| room.room_nid);
        if room.is_some_and(|room| failed.contains(&room)) {
            results.push(Err(CommitError::Conflict));
            continue;
        }
        let result = match commit(database, std::slice::from_ref(set)).await {
            Ok(mut results) => results.pop().unwrap_or(Err(CommitError::Conflict)),
            Err(error) => {
                tracing::error!(error = %error, source = ?error, "A write set was not committed");
                Err(CommitError::Failed(Arc::new(error)))
            }
        };
        if result.is_err() {
            failed.extend(room);
        }
        results.push(result);
    }
    results
}

/// One transaction: swap the rooms' revisions, write what has no position, then the changes.
async fn commit(database: &Database, sets: &[WriteSet]) -> Result<Vec<Answer>, Error> {
    let mut tx = database.pool().begin().await?;
    let lost = write::rooms(&mut tx, sets).await?;
    let kept = |set: &WriteSet| {
        set.room
            .as_ref()
            .is_none_or(|room| !lost.contains(&room.room_nid))
    };
    let mut changes = Changes::new();
    let mut last = Vec::with_capacity(sets.len());
    for set in sets {
        if kept(set) {
            changes.extend(set.changes.clone());
            last.push(Ok(changes.len() as i64));
        } else {
            last.push(Err(CommitError::Conflict));
        }
    }
    let rooms: Vec<&RoomWrite> = sets
        .iter()
        .filter(|set| kept(set))
        .filter_map(|set| set.room.as_ref())
        .collect();
    write::snapshots(&mut tx, &rooms).await?;
    write::current_state(&mut tx, &changes).await?;
    write::redactions(&mut tx, &changes).await?;
    let base = if changes.is_empty() {
        database.committed()
    } else {
        stream::append(&mut tx, &changes).await?
    };
    tx.commit().await?;
    if !changes.is_empty() {
        database.announce(Announcement::new(base, changes));
    }
    Ok(last
        .into_iter()
        .map(|result| result.map(|offset| StreamPosition(base.get() + offset)))
        .collect())
}

/// The rooms whose revision is not what their write sets expect.
type Lost = HashSet<RoomNid>;

/// What becomes of the head of each room, the sets of one room taken together.
fn heads(sets: &[WriteSet]) -> (HashMap<RoomNid, Head<'_>>, Lost) {
    let mut heads: HashMap<RoomNid, Head<'_>> = HashMap::new();
    let mut lost = Lost::new();
    for room in sets.iter().filter_map(|set| set.room.as_ref()) {
        let head = heads.entry(room.room_nid).or_insert(Head {
            expected: room.expected_revision,
            create: room.create.as_ref(),
            last: room,
        });
        // A set that does not continue the one before it was built on another head.
        if !std::ptr::eq(head.last, room)
            && room.expected_revision != head.last.expected_revision + 1
        {
            lost.insert(room.room_nid);
        }
        head.last = room;
    }
    heads.retain(|room_nid, _| !lost.contains(room_nid));
    (heads, lost)
}

/// What the sets of a batch make of one room.
struct Head<'a> {
    expected: i64,
    create: Option<&'a NewRoom>,
    last: &'a RoomWrite,
}

/// The events among the changes that become current state.
fn current(changes: &Changes) -> impl Iterator<Item = &crate::StoredEvent> {
    changes.numbered().filter_map(|(_, change)| match change {
        Change::Event(change) if change.current => Some(&change.event),
        _ => None,
    })
}
