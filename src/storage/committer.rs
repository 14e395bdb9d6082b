//! Group commit: whatever waits, of many rooms and many kinds, is written in one transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ruma::OwnedEventId;
use tokio::sync::{mpsc, oneshot};
use types::{Fault, Kind, RoomNid, StreamPosition};

use crate::{
    Changes, Connection, Database, Error, Tx,
    feed::Announcement,
    rooms::{NewRoom, RoomWrite},
    stream,
};

mod repeated;
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
    fn kind(&self) -> Kind {
        match self {
            Self::Conflict | Self::Stopping => Kind::Unavailable,
            Self::Repeated(_) => Kind::Internal,
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
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        metrics::histogram!("chancery_storage_commit_batch_sets").record(batch.len() as f64);
        commit_batch(&database, std::mem::take(&mut batch)).await;
    }
}

async fn commit_batch(database: &Database, batch: Vec<Submission>) {
    let (sets, answers): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|submission| (submission.set, submission.answer))
        .unzip();
    let sets: Vec<&WriteSet> = sets.iter().collect();
    for (answer, result) in answers.into_iter().zip(write_all(database, &sets).await) {
        // Whoever asked may have gone away; what is written stays.
        let _gone = answer.send(result);
    }
}

/// Commits the sets; when that fails for a reason that may lie in one of them, tries them on their
/// own, so that one cannot take the others down.
async fn write_all(database: &Database, sets: &[&WriteSet]) -> Vec<Answer> {
    let error = match commit(database, sets).await {
        Ok(results) => return results,
        Err(error) => error,
    };
    if error.violates(repeated::CONSTRAINT) {
        match repeated::among(database, sets).await {
            Ok(repeated) if !repeated.is_empty() => {
                return write_others(database, sets, repeated).await;
            }
            // Of two sets in this batch the second repeats the first.
            Ok(_) => {}
            Err(error) => return failed(sets, error),
        }
    }
    if error.is_unavailable() || sets.len() == 1 {
        return failed(sets, error);
    }
    tracing::warn!(error = %error, source = ?error, "A batch was not committed; its parts are tried one by one");
    let mut results = Vec::with_capacity(sets.len());
    for set in sets {
        // What was built on a set that failed fails by its revision.
        results.extend(Box::pin(write_all(database, &[set])).await);
    }
    results
}

/// Commits the sets that repeat no earlier transaction.
async fn write_others(
    database: &Database,
    sets: &[&WriteSet],
    mut repeated: HashMap<usize, OwnedEventId>,
) -> Vec<Answer> {
    let others: Vec<&WriteSet> = (sets.iter().enumerate())
        .filter(|(index, _)| !repeated.contains_key(index))
        .map(|(_, set)| *set)
        .collect();
    let mut others = if others.is_empty() {
        Vec::new()
    } else {
        Box::pin(write_all(database, &others)).await
    }
    .into_iter();
    let answer = |index| match repeated.remove(&index) {
        Some(event_id) => Err(CommitError::Repeated(event_id)),
        None => others.next().unwrap_or(Err(CommitError::Conflict)),
    };
    (0..sets.len()).map(answer).collect()
}

fn failed(sets: &[&WriteSet], error: Error) -> Vec<Answer> {
    tracing::error!(error = %error, source = ?error, sets = sets.len(), "A batch was not committed");
    let error = Arc::new(error);
    let failed = |_| Err(CommitError::Failed(error.clone()));
    sets.iter().map(failed).collect()
}

/// Writes one set in the transaction of a caller who holds the lock of the set's room, so that
/// nobody else can write to the room first.
pub async fn commit_locked(mut tx: Tx, set: WriteSet) -> Answer {
    let database = tx.database().clone();
    let result = async {
        let lost = write_unpositioned(&mut tx, &[&set]).await?;
        if !lost.is_empty() {
            return Ok(Err(CommitError::Conflict));
        }
        tx.commit_with(set.changes.clone()).await.map(Ok)
    };
    match result.await {
        Ok(answer) => answer,
        Err(error) if error.violates(repeated::CONSTRAINT) => {
            let repeated = repeated::among(&database, &[&set]).await;
            match repeated.map(|mut repeated| repeated.remove(&0)) {
                Ok(Some(event_id)) => Err(CommitError::Repeated(event_id)),
                _ => Err(CommitError::Failed(Arc::new(error))),
            }
        }
        Err(error) => Err(CommitError::Failed(Arc::new(error))),
    }
}

/// One transaction: what has no position, then the changes.
async fn commit(database: &Database, sets: &[&WriteSet]) -> Result<Vec<Answer>, Error> {
    let mut tx = database.pool().begin().await?;
    let lost = write_unpositioned(&mut tx, sets).await?;
    let mut changes = Changes::new();
    let mut last = Vec::with_capacity(sets.len());
    for set in sets {
        if set.is_kept(&lost) {
            changes.extend(set.changes.clone());
            last.push(Ok(changes.len() as i64));
        } else {
            last.push(Err(CommitError::Conflict));
        }
    }
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

/// Swaps the rooms' revisions and writes what has no position, of the rooms that did not lose.
async fn write_unpositioned(db: &mut Connection, sets: &[&WriteSet]) -> Result<Lost, Error> {
    let lost = write::rooms(db, sets).await?;
    let kept: Vec<&WriteSet> = sets
        .iter()
        .copied()
        .filter(|set| set.is_kept(&lost))
        .collect();
    write::snapshots(db, &kept).await?;
    write::current_state(db, &kept).await?;
    write::redactions(db, &kept).await?;
    Ok(lost)
}

/// The rooms whose revision is not what their write sets expect.
type Lost = HashSet<RoomNid>;

/// What becomes of the head of each room, the sets of one room taken together.
fn heads<'s>(sets: &[&'s WriteSet]) -> (HashMap<RoomNid, Head<'s>>, Lost) {
    let mut heads: HashMap<RoomNid, Head<'s>> = HashMap::new();
    let mut lost = Lost::new();
    for room in sets.iter().filter_map(|set| set.room.as_ref()) {
        let head = heads.entry(room.room_nid).or_insert(Head {
            first: room,
            create: room.create.as_ref(),
            last: room,
        });
        // A set that does not continue the one before it was built on another head.
        if !std::ptr::eq(head.last, room)
            && (room.expected_revision != head.last.expected_revision + 1
                || room.expected_extremities != head.last.extremities)
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
    first: &'a RoomWrite,
    create: Option<&'a NewRoom>,
    last: &'a RoomWrite,
}
