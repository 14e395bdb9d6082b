//! The handle to all rooms: their cached heads, locks, and the write path.

use std::sync::Arc;

use event::Signer;
use ruma::{OwnedServerName, RoomId, RoomVersionId, UserId};
use storage::{CommitError, Committer, Database, IdAllocator, PeerEvent, StateKeys};
use tokio::sync::MutexGuard;
use types::Clock;

use crate::{
    Error,
    append::{EventAppender, nids_for},
    create::CreationTimestamps,
    head::Head,
    head_cache::{HeadCache, HeadEntry},
    transactions::Transactions,
    turn::Others,
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
    /// Bytes for the heads of rooms in memory.
    pub head_budget: u64,
    /// The version of rooms that are created without naming one.
    pub default_version: RoomVersionId,
    /// How many rooms a user may be joined to.
    pub limits: config::Limits,
}

/// All rooms; cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) committer: Committer,
    pub(crate) nids: IdAllocator,
    pub(crate) state_keys: StateKeys,
    pub(crate) signer: Signer,
    pub(crate) clock: Clock,
    pub(crate) transactions: Transactions,
    pub(crate) creation_timestamps: CreationTimestamps,
    pub(crate) heads: Arc<HeadCache>,
}

impl Rooms {
    /// Builds the handle.
    pub fn new(
        settings: Settings,
        database: Database,
        committer: Committer,
        signer: Signer,
        clock: Clock,
    ) -> Self {
        let nids = IdAllocator::new(database.clone());
        let heads = Arc::new(HeadCache::new(settings.head_budget));
        let (cache, allocated) = (Arc::clone(&heads), nids.allocated());
        database.subscribe(move |event| {
            if let PeerEvent::Changes(changes) = event {
                cache.mark_stale(changes, &allocated);
            }
        });
        Self(Arc::new(Inner {
            nids,
            state_keys: StateKeys::new(database.clone()),
            transactions: Transactions::new(),
            creation_timestamps: CreationTimestamps::default(),
            heads,
            settings,
            database,
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

    /// The head of a room, from the cache or loaded.
    pub(crate) async fn head(&self, room_id: &RoomId) -> Result<Head, Error> {
        let entry = self.0.heads.get(room_id);
        let guard = self.lock_head(&entry, room_id).await?;
        guard.as_ref().cloned().ok_or(Error::UnknownRoom)
    }

    /// Adds up to `events` events to a room in one write set, and waits until they are durable.
    ///
    /// `write` is called with the room locked; it is called again when another process wrote to
    /// the room first, so it decides anew each time. When it adds nothing, nothing is written.
    pub(crate) async fn write<T: Send>(
        &self,
        room_id: &RoomId,
        events: usize,
        mut write: impl FnMut(&mut EventAppender<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let entry = self.0.heads.get(room_id);
        for attempt in 0..MAX_ATTEMPTS {
            let mut guard = entry.head.lock().await;
            let is_alone = attempt >= SHARED_ATTEMPTS;
            while is_alone && entry.has_open_turn() {
                // The lock is fair: who opened the turn is next.
                drop(guard);
                guard = entry.head.lock().await;
            }
            let written = if entry.has_open_turn() {
                self.join_turn(&entry, guard, events, &mut write).await?
            } else if is_alone {
                self.lead_turn(room_id, &entry, guard, Others::Wait, events, &mut write)
                    .await?
            } else if entry.is_contended() {
                self.lead_turn(room_id, &entry, guard, Others::Join, events, &mut write)
                    .await?
            } else {
                let guard = self.load_head(&entry, room_id, guard).await?;
                self.write_head(&entry, guard, events, &mut write).await?
            };
            match written {
                Ok(result) => return Ok(result),
                // Another process writes to the room, or a write that this one followed failed.
                Err(CommitError::Conflict) => entry.set_contended(true),
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Writes to a room that no other process writes to, as far as is known: the write of the next
    /// request joins the same batch.
    async fn write_head<T: Send>(
        &self,
        entry: &Arc<HeadEntry>,
        mut guard: MutexGuard<'_, Option<Head>>,
        events: usize,
        write: &mut (impl FnMut(&mut EventAppender<'_>) -> Result<T, Error> + Send),
    ) -> Result<Result<T, CommitError>, Error> {
        let nids = self.0.nids.allocate(nids_for(events)).await?;
        let head = guard.as_ref().cloned().ok_or(Error::UnknownRoom)?;
        let mut appender = EventAppender::new(head, &self.0.signer, self.0.clock.now(), nids);
        let result = write(&mut appender)?;
        // What is there already may be on its way to the disk only: then an empty set, which fails
        // with it, goes the same way.
        if appender.is_empty() && entry.is_durable(appender.head().revision) {
            return Ok(Ok(result));
        }
        let (set, head) = appender.finish(&self.0.state_keys).await?;
        let revision = head.revision;
        self.0.heads.reweigh(entry, &head);
        *guard = Some(head);
        let commit = self.0.committer.submit(set).await;
        drop(guard);
        let Err(error) = commit.durable().await else {
            entry.mark_durable(revision);
            return Ok(Ok(result));
        };
        // What was built on the failed write fails by its revision; the first to see it drops the
        // head.
        let mut guard = entry.head.lock().await;
        if guard.as_ref().is_some_and(|head| head.revision >= revision) && !entry.has_open_turn() {
            *guard = None;
        }
        Ok(Err(error))
    }

    /// Commits a new room and caches its head.
    pub(crate) async fn create_room(&self, appender: EventAppender<'_>) -> Result<(), Error> {
        let (set, head) = appender.finish(&self.0.state_keys).await?;
        self.0.committer.submit(set).await.durable().await?;
        let entry = self.0.heads.get(&head.room_id);
        // Who read the room as soon as it was there may have come first.
        let mut guard = entry.head.lock().await;
        if guard.is_none() {
            self.0.heads.insert(&entry, &head);
            *guard = Some(head);
        }
        Ok(())
    }

    /// Locks a room, and loads its head if it is not cached or is stale.
    async fn lock_head<'s>(
        &self,
        entry: &'s Arc<HeadEntry>,
        room_id: &RoomId,
    ) -> Result<MutexGuard<'s, Option<Head>>, Error> {
        let guard = entry.head.lock().await;
        self.load_head(entry, room_id, guard).await
    }

    async fn load_head<'s>(
        &self,
        entry: &'s Arc<HeadEntry>,
        room_id: &RoomId,
        mut guard: MutexGuard<'s, Option<Head>>,
    ) -> Result<MutexGuard<'s, Option<Head>>, Error> {
        if guard.as_ref().is_none_or(|head| !entry.is_fresh(head)) {
            *guard = None;
            let mut db = self.0.database.snapshot().await?;
            let head = Head::load(&mut db, room_id).await;
            db.commit().await?;
            match head? {
                Some(head) => {
                    self.0.heads.insert(entry, &head);
                    *guard = Some(head);
                }
                None => self.0.heads.remove(room_id),
            }
        }
        Ok(guard)
    }
}
