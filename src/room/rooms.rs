//! The handle to all rooms: their heads, locks, and the write path.

use std::{collections::HashMap, sync::Arc, time::Duration};

use event::{Pdu, Signer};
use federation::Federation;
use live::Live;
use ruma::{OwnedServerName, RoomId, RoomVersionId, UserId};
use storage::{CommitError, Committer, Database, IdAllocator, StateKeys};
use tokio::sync::{MutexGuard, Semaphore};
use types::{Clock, EventNid, StreamPosition};

use crate::{
    Error,
    append::{AppendContext, EventAppender, nids_for, received::Resolutions, redactions},
    backfill::Backfill,
    create::timestamps::CreationTimestamps,
    delayed::Delayed,
    head::Head,
    heads::{HeadEntry, Heads},
    partial_states::PartialStates,
    receive::{Inbox, ReceivedTransactions},
    room_locks::RoomLocks,
    transactions::Transactions,
};

/// How often a write is tried that others come before.
const MAX_ATTEMPTS: usize = 8;

/// How often a write is tried together with those of other requests; then it is tried alone, since
/// one of them may be at fault.
const SHARED_ATTEMPTS: usize = 2;

/// What rooms are built from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The domain of this server's users and rooms.
    pub server_name: OwnedServerName,
    /// The version of rooms that are created without naming one.
    pub default_version: RoomVersionId,
    /// How many rooms a user may be joined to.
    pub limits: config::Limits,
    /// How long another server waits until events of a room are taken in, rather than stored for
    /// that.
    pub receive_time: Duration,
    /// The language of the text that is searched.
    pub search_language: String,
}

/// The events that a request adds to a room.
pub(crate) struct RequestedWrite<'w, T> {
    /// How many it adds at the most.
    pub(crate) max_events: usize,
    /// Adds them, with the room locked; called again when another process wrote to the room first.
    pub(crate) append: &'w mut (dyn FnMut(&mut EventAppender<'_>) -> Result<T, Error> + Send),
}

/// What other requests that write to the room do during a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// They build on it before it is durable.
    Continue,
    /// They wait: it fails by no fault of another, and takes no other with it.
    Wait,
}

/// All rooms; cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) live: Live,
    pub(crate) federation: Federation,
    pub(crate) committer: Committer,
    pub(crate) nids: IdAllocator,
    pub(crate) state_keys: StateKeys,
    pub(crate) signer: Signer,
    pub(crate) clock: Clock,
    pub(crate) transactions: Transactions,
    pub(crate) creation_timestamps: CreationTimestamps,
    pub(crate) heads: Heads,
    pub(crate) received_transactions: ReceivedTransactions,
    pub(crate) inbox: Inbox,
    pub(crate) delayed: Delayed,
    /// Of the rooms of other servers that users of this process are joining now.
    pub(crate) remote_joins: RoomLocks,
    pub(crate) backfill: Backfill,
    pub(crate) resolutions: Resolutions,
    pub(crate) partial_states: PartialStates,
    /// Turns and locks of rooms that may be held or waited for at once: each has a connection while it
    /// waits for the feed, which needs one, too.
    pub(crate) turns: Arc<Semaphore>,
}

impl Rooms {
    /// Builds the handle. `live` must be given the feed of the database.
    pub fn new(
        settings: Settings,
        database: Database,
        live: Live,
        committer: Committer,
        (federation, signer): (Federation, Signer),
        clock: Clock,
    ) -> Self {
        let turns = usize::try_from(database.max_connections() / 2).unwrap_or(1);
        Self(Arc::new(Inner {
            nids: IdAllocator::new(database.clone()),
            state_keys: StateKeys::new(database.clone()),
            transactions: Transactions::new(),
            creation_timestamps: CreationTimestamps::default(),
            heads: Heads::default(),
            received_transactions: ReceivedTransactions::default(),
            inbox: Inbox::default(),
            delayed: Delayed::default(),
            remote_joins: RoomLocks::default(),
            backfill: Backfill::new(),
            resolutions: Resolutions::default(),
            partial_states: PartialStates::default(),
            turns: Arc::new(Semaphore::new(turns.max(1))),
            settings,
            database,
            live,
            federation,
            committer,
            signer,
            clock,
        }))
    }

    /// The version of rooms that are created without naming one.
    pub fn default_version(&self) -> &RoomVersionId {
        &self.0.settings.default_version
    }

    /// Whether a user belongs to this server.
    pub(crate) fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.0.settings.server_name
    }

    /// What the events of a write are made with.
    pub(crate) fn append_context(&self) -> AppendContext<'_> {
        AppendContext {
            signer: &self.0.signer,
            now: self.0.clock.now(),
            cache: self.0.live.event_cache(),
        }
    }

    /// The head of a room, with all writes of this process.
    pub(crate) async fn head(&self, room_id: &RoomId) -> Result<Head, Error> {
        let entry = self.0.heads.get(room_id);
        let mut pending = entry.pending.lock().await;
        self.current_head(&entry, room_id, &mut pending).await
    }

    /// The pending head of a room, or else what is committed.
    pub(crate) async fn current_head(
        &self,
        entry: &HeadEntry,
        room_id: &RoomId,
        pending: &mut Option<Head>,
    ) -> Result<Head, Error> {
        let live = &self.0.live;
        entry.drop_settled(pending, live.position());
        if let Some(head) = pending {
            return Ok(head.clone());
        }
        let state = live.room_state(room_id).await?.ok_or(Error::UnknownRoom)?;
        let durable = entry.durable();
        if state.revision() >= durable.revision {
            return Head::new(state);
        }
        // A write that came after one that is durable has failed, and the head with it.
        live.wait_until_applied(durable.position).await;
        Head::new(live.room_state(room_id).await?.ok_or(Error::UnknownRoom)?)
    }

    /// Adds up to `max_events` events to a room in one write set, and waits until they are durable.
    ///
    /// `append` is called with the room locked; it is called again when another process wrote to
    /// the room first, so it decides anew each time. When it adds nothing, nothing is written.
    pub(crate) async fn write<T: Send>(
        &self,
        room_id: &RoomId,
        max_events: usize,
        mut append: impl FnMut(&mut EventAppender<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let mut write = RequestedWrite {
            max_events,
            append: &mut append,
        };
        if let Some(result) = self.write_if_recommended(room_id, &mut write).await? {
            return Ok(result);
        }
        let entry = self.0.heads.get(room_id);
        for attempt in 0..MAX_ATTEMPTS {
            let mut pending = entry.lock().await;
            if entry.is_contended() && !entry.has_turn() {
                Box::pin(self.take_turn(room_id, &entry, &mut pending)).await?;
            }
            let others = if attempt < SHARED_ATTEMPTS {
                Others::Continue
            } else {
                // What was built on is decided, too.
                let decided = self.submitted_writes_decided().await?;
                self.0.live.wait_until_applied(decided).await;
                entry.discard_head(&mut pending);
                Others::Wait
            };
            let head = self.current_head(&entry, room_id, &mut pending).await?;
            let written = self.write_head(&entry, pending, (head, others), &mut write);
            match written.await? {
                Ok(result) => return Ok(result),
                // Another process writes to the room, or a write that this one followed failed.
                Err(CommitError::Conflict) => entry.set_contended(true),
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Writes to a room on a head, which holds if no other process has written to the room first: the
    /// write of the next request joins the same batch.
    async fn write_head<T: Send>(
        &self,
        entry: &Arc<HeadEntry>,
        mut pending: MutexGuard<'_, Option<Head>>,
        (head, others): (Head, Others),
        write: &mut RequestedWrite<'_, T>,
    ) -> Result<Result<T, CommitError>, Error> {
        let (result, appender) = self.build(head, write).await?;
        // What is there already may be on its way to the disk only: then an empty set, which fails
        // with it, goes the same way.
        let revision = appender.head().state.revision();
        let is_durable = pending.is_none() || entry.is_durable(revision);
        if appender.is_empty() && is_durable {
            return Ok(Ok(result));
        }
        let (set, head) = appender
            .finish(&self.0.database, &self.0.state_keys)
            .await?;
        let revision = head.state.revision();
        let redacted = redactions(&set);
        *pending = Some(head);
        let discarded = entry.discarded();
        let turn = entry.begin_write();
        let commit = self.0.committer.submit(set).await;
        let kept = (others == Others::Wait).then_some(pending);
        let error = match commit.durable().await {
            Ok(committed) => {
                self.settle(entry, revision, committed, redacted);
                return Ok(Ok(result));
            }
            Err(error) => error,
        };
        // What was built on the failed write fails by its revision; the first to see it drops the
        // head.
        let mut pending = match kept {
            Some(pending) => pending,
            None => entry.pending.lock().await,
        };
        if entry.discarded() == discarded {
            entry.discard_head(&mut pending);
        }
        if let (CommitError::Conflict, Some(turn)) = (&error, turn) {
            turn.lost();
        }
        Ok(Err(error))
    }

    /// Decides on a write. What it asks for and is not in memory is read, by one query for all of it,
    /// and it is decided again.
    pub(crate) async fn build<T: Send>(
        &self,
        head: Head,
        write: &mut RequestedWrite<'_, T>,
    ) -> Result<(T, EventAppender<'_>), Error> {
        let nids = self.0.nids.allocate(nids_for(write.max_events)).await?;
        let context = self.append_context();
        let mut known = HashMap::new();
        loop {
            let appender = EventAppender::new(head.clone(), context, nids.clone());
            let mut appender = appender.with_known(known.clone());
            let result = (write.append)(&mut appender);
            if appender.missing().is_empty() {
                return Ok((result?, appender));
            }
            let missing = appender.missing().to_vec();
            let read = self.0.live.events(missing.iter().copied()).await?;
            if let Some(absent) = missing.iter().find(|nid| !read.contains_key(nid)) {
                let text = format!("the state has event {absent:?}, which is not there");
                return Err(storage::Error::Corrupt(text).into());
            }
            known.extend(read);
        }
    }

    /// Notes that a revision is durable.
    pub(crate) fn settle(
        &self,
        entry: &Arc<HeadEntry>,
        revision: i64,
        position: StreamPosition,
        redacted: Vec<(EventNid, Arc<Pdu>)>,
    ) {
        for (nid, left) in redacted {
            self.0.live.event_cache().redact(nid, &left);
        }
        entry.mark_durable(revision, position);
        self.0.heads.settle(entry, position, self.0.live.position());
    }

    /// Commits a new room, which is in memory from then on.
    pub(crate) async fn create_room(&self, appender: EventAppender<'_>) -> Result<(), Error> {
        let (set, head) = appender
            .finish(&self.0.database, &self.0.state_keys)
            .await?;
        let committed = self.0.committer.submit(set).await.durable().await?;
        let state = Arc::unwrap_or_clone(head.state);
        self.0.live.insert_created(state, committed);
        Ok(())
    }
}
