//! Group commit: all queued write sets, of many rooms and kinds, are written in one transaction.

use std::{sync::Arc, time::Duration};

use ruma::OwnedEventId;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use types::{ErrorKind, Fault, StreamPosition};

use crate::{
    Change, Database, Error,
    families::{
        account_data_updates::AccountDataUpdate,
        key_uploads::{KeyUpload, UploadOutcome},
    },
    one_time_keys::{ClaimedKey, KeyRequest},
    rooms::{Placement, RoomWrite},
    stream::{Changes, EventChange, StateDelta, UserChanges},
};

mod duplicates;
mod locked;
mod user_writes;
mod write;
mod writer;

pub use locked::commit_locked;
pub(crate) use user_writes::Answered;
use write::Conflicts;
use writer::Writer;

/// The most write sets in one transaction.
const MAX_BATCH_SETS: usize = 1024;
/// The most queued write sets; above it `submit` waits.
const QUEUE_CAPACITY: usize = 16_384;
/// How long an idle connection is held.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// What one request writes, atomically.
#[derive(Debug, Default)]
pub struct WriteSet {
    /// What it does to a room.
    pub room: Option<RoomWrite>,
    /// What else clients learn about.
    pub changes: UserChanges,
    /// Writes whose effect depends on what is in the database.
    pub user: Vec<UserWrite>,
}

/// A write whose effect depends on what is in the database; the changes in the stream follow from the
/// effect.
#[derive(Clone, Debug)]
pub enum UserWrite {
    /// A device uploads keys.
    UploadKeys(KeyUpload),
    /// Keys are taken, each once.
    ClaimKeys(Vec<KeyRequest>),
    /// Account data is changed.
    ReplaceAccountData(AccountDataUpdate),
}

/// The result of a [`UserWrite`].
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Of an upload of keys.
    Uploaded(UploadOutcome),
    /// The keys that were taken.
    Claimed(Vec<ClaimedKey>),
    /// Whether account data was replaced, or is not what it was read as any more.
    Replaced(bool),
}

/// A durable write set.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The position of its last change.
    pub position: StreamPosition,
    /// The results of its user writes, in their order.
    pub outcomes: Vec<Outcome>,
}

/// Why a write set was not committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Another process wrote to the room first, or the write that this was built on failed: reload the room.
    #[error("The room has changed meanwhile")]
    Conflict,
    /// The device's transaction created this event before; nothing was written.
    #[error("The transaction made {0} before")]
    DuplicateTransaction(OwnedEventId),
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
            Self::DuplicateTransaction(_) => ErrorKind::Internal,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl WriteSet {
    /// What takes positions: each event of a timeline, right after it what it changes in the
    /// room's state, then the rest.
    fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        let events = self.room.iter().flat_map(|room| &room.events);
        for new in events.filter(|new| new.placement == Placement::Timeline) {
            changes.push(Change::Event(EventChange {
                event: new.event.clone(),
                redacts: new.redacts.clone(),
            }));
            if !new.delta.is_empty() {
                changes.push(Change::State(StateDelta {
                    room_nid: new.event.room_nid,
                    changes: new.delta.clone(),
                }));
            }
        }
        if let Some(room) = &self.room {
            changes.extend(partial_state_changes(room));
        }
        changes.extend(self.changes.clone().into());
        changes
    }

    /// Whether there is nothing to write or to compare.
    fn is_empty(&self) -> bool {
        self.room.is_none() && self.changes.is_empty() && self.user.is_empty()
    }

    fn is_applied(&self, conflicts: &Conflicts) -> bool {
        let room = self.room.as_ref();
        room.is_none_or(|room| !conflicts.contains(&room.room_nid))
    }
}

/// What becomes of a state of which parts are not known.
fn partial_state_changes(room: &RoomWrite) -> Changes {
    let room_nid = room.room_nid;
    let mut changes = Changes::default();
    if let Some(recheck) = &room.recheck {
        if !recheck.delta.is_empty() {
            changes.push(Change::State(StateDelta {
                room_nid,
                changes: recheck.delta.clone(),
            }));
        }
        changes.push(Change::PartialState {
            room_nid,
            servers: None,
        });
    }
    if let Some(partial) = &room.partial {
        changes.push(Change::PartialState {
            room_nid,
            servers: Some(Arc::clone(&partial.servers)),
        });
    }
    changes
}

type CommitResult = Result<Committed, CommitError>;

#[derive(Debug)]
struct Submission {
    set: WriteSet,
    answer: oneshot::Sender<CommitResult>,
}

/// A handle to submit write sets.
#[derive(Clone, Debug)]
pub struct Committer {
    queue: mpsc::Sender<Submission>,
}

/// A submitted write set that is not yet durable.
#[derive(Debug)]
pub struct Commit(oneshot::Receiver<CommitResult>);

impl Commit {
    /// Waits until the write set is durable; returns the position of its last change.
    pub async fn durable(self) -> Result<StreamPosition, CommitError> {
        Ok(self.committed().await?.position)
    }

    /// Waits until the write set is durable; returns what came of it, too.
    pub async fn committed(self) -> Result<Committed, CommitError> {
        self.0.await.unwrap_or(Err(CommitError::Stopping))
    }
}

impl Committer {
    /// A committer and the task that must run for it to work; the task ends when all clones of the
    /// committer are gone and everything handed over is written.
    pub fn new(database: Database) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, queued) = mpsc::channel(QUEUE_CAPACITY);
        (Self { queue }, run(database, queued))
    }

    /// Submits a write set. Sets of one room are written in the order of submission, so the caller
    /// holds the room's lock.
    pub async fn submit(&self, set: WriteSet) -> Commit {
        let (answer, receiver) = oneshot::channel();
        // When the queue is closed the answer's sender is dropped, which reads as `Stopping`.
        let _closed = self.queue.send(Submission { set, answer }).await;
        Commit(receiver)
    }

    /// Commits changes that concern users.
    pub async fn commit_changes(
        &self,
        changes: UserChanges,
    ) -> Result<StreamPosition, CommitError> {
        let set = WriteSet {
            changes,
            ..WriteSet::default()
        };
        self.submit(set).await.durable().await
    }

    /// Stores the keys that a device uploads.
    pub async fn upload_keys(&self, upload: KeyUpload) -> Result<UploadOutcome, CommitError> {
        let outcome = self
            .commit_user_write(UserWrite::UploadKeys(upload))
            .await?;
        match outcome {
            Some(Outcome::Uploaded(outcome)) => Ok(outcome),
            _ => Err(CommitError::Stopping),
        }
    }

    /// Takes keys of devices, each key once; devices without keys are left out.
    pub async fn claim_keys(&self, keys: Vec<KeyRequest>) -> Result<Vec<ClaimedKey>, CommitError> {
        let outcome = self.commit_user_write(UserWrite::ClaimKeys(keys)).await?;
        match outcome {
            Some(Outcome::Claimed(keys)) => Ok(keys),
            _ => Err(CommitError::Stopping),
        }
    }

    /// Replaces account data; `false` if it is not what it was read as any more.
    pub async fn replace_account_data(
        &self,
        update: AccountDataUpdate,
    ) -> Result<bool, CommitError> {
        let write = UserWrite::ReplaceAccountData(update);
        match self.commit_user_write(write).await? {
            Some(Outcome::Replaced(is_replaced)) => Ok(is_replaced),
            _ => Err(CommitError::Stopping),
        }
    }

    async fn commit_user_write(&self, write: UserWrite) -> Result<Option<Outcome>, CommitError> {
        let set = WriteSet {
            user: vec![write],
            ..WriteSet::default()
        };
        let mut committed = self.submit(set).await.committed().await?;
        Ok(committed.outcomes.pop())
    }
}

async fn run(database: Database, mut queued: mpsc::Receiver<Submission>) {
    let mut writer = Writer::new(database);
    let mut batch = Vec::new();
    loop {
        let received = timeout(IDLE_TIMEOUT, queued.recv_many(&mut batch, MAX_BATCH_SETS)).await;
        let received = if let Ok(received) = received {
            received
        } else {
            writer.release_connection();
            queued.recv_many(&mut batch, MAX_BATCH_SETS).await
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
        // The request may have been cancelled; the write stays.
        let _gone = answer.send(result);
    }
}
