//! The handle of all rooms: their heads, their locks, and the way to write to them.

use std::sync::Arc;

use event::Signer;
use moka::sync::Cache;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, UserId};
use storage::{CommitError, Committer, Database, Nids, committer::commit_locked, rooms};
use tokio::sync::{Mutex, MutexGuard};
use types::Clock;

use crate::{Error, append::Pen, create::Moments, head::Head, transactions::Transactions};

/// What rooms are built from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The domain of this server's users and rooms.
    pub server_name: OwnedServerName,
    /// Bytes for the heads of rooms in memory.
    pub head_budget: u64,
}

/// All rooms; cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) committer: Committer,
    pub(crate) nids: Nids,
    pub(crate) signer: Signer,
    pub(crate) clock: Clock,
    pub(crate) transactions: Transactions,
    pub(crate) creations: Moments,
    heads: Cache<OwnedRoomId, Arc<Slot>>,
}

/// A room's lock and, once it was needed, its head. When memory is short a slot is dropped while
/// somebody still holds it: two slots of one room are then told apart by the revision, as two
/// processes are.
#[derive(Debug, Default)]
struct Slot {
    head: Mutex<Option<Head>>,
    weight: std::sync::atomic::AtomicU32,
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
        let heads = Cache::builder()
            .max_capacity(settings.head_budget)
            .weigher(|_, slot: &Arc<Slot>| {
                slot.weight
                    .load(std::sync::atomic::Ordering::Relaxed)
                    .max(1024)
            })
            .build();
        Self(Arc::new(Inner {
            nids: Nids::new(database.clone()),
            transactions: Transactions::new(),
            creations: Moments::default(),
            settings,
            database,
            committer,
            signer,
            clock,
            heads,
        }))
    }

    /// Whether a user belongs to this server.
    pub(crate) fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.0.settings.server_name
    }

    /// The room as it stands in memory, loaded if need be.
    pub(crate) async fn head(&self, room_id: &RoomId) -> Result<Head, Error> {
        let slot = self.slot(room_id);
        let guard = self.loaded(&slot, room_id).await?;
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
        mut write: impl FnMut(&mut Pen<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let nids = self.0.nids.take(events).await?;
        let slot = self.slot(room_id);
        let mut guard = self.loaded(&slot, room_id).await?;
        let head = guard.as_ref().cloned().ok_or(Error::UnknownRoom)?;
        let mut pen = Pen::new(head, &self.0.signer, self.0.clock.now(), nids);
        let result = write(&mut pen)?;
        if pen.is_unused() {
            return Ok(result);
        }
        let (set, head) = pen.finish();
        let revision = head.revision;
        *guard = Some(head);
        let commit = self.0.committer.submit(set).await;
        drop(guard);
        let Err(error) = commit.durable().await else {
            return Ok(result);
        };
        // What was built on the failed write fails by its revision; the first to see it drops the
        // head.
        let mut guard = slot.head.lock().await;
        if guard.as_ref().is_some_and(|head| head.revision >= revision) {
            *guard = None;
        }
        if !matches!(error, CommitError::Conflict) {
            return Err(error.into());
        }
        self.write_locked(room_id, events, guard, write).await
    }

    /// Writes in a transaction that holds the room's lock in the database: whoever lost to another
    /// process once does not lose again.
    async fn write_locked<T: Send>(
        &self,
        room_id: &RoomId,
        events: usize,
        mut guard: MutexGuard<'_, Option<Head>>,
        mut write: impl FnMut(&mut Pen<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let nids = self.0.nids.take(events).await?;
        let mut tx = self.0.database.begin().await?;
        rooms::lock(&mut tx, room_id).await?;
        let head = Head::load(&mut tx, room_id).await?;
        let head = head.ok_or(Error::UnknownRoom)?;
        let mut pen = Pen::new(head, &self.0.signer, self.0.clock.now(), nids);
        let result = write(&mut pen)?;
        if pen.is_unused() {
            return Ok(result);
        }
        let (set, head) = pen.finish();
        commit_locked(tx, set).await?;
        *guard = Some(head);
        Ok(result)
    }

    /// Writes a room that does not exist yet, and keeps its head.
    pub(crate) async fn write_new(&self, pen: Pen<'_>) -> Result<(), Error> {
        let (set, head) = pen.finish();
        self.0.committer.submit(set).await.durable().await?;
        let room_id = head.room_id.clone();
        let slot = Arc::new(Slot::with(head));
        self.0.heads.insert(room_id, slot);
        Ok(())
    }

    fn slot(&self, room_id: &RoomId) -> Arc<Slot> {
        self.0.heads.get_with_by_ref(room_id, Arc::default)
    }

    /// Locks a room and loads its head if it is not in memory.
    async fn loaded<'s>(
        &self,
        slot: &'s Arc<Slot>,
        room_id: &RoomId,
    ) -> Result<MutexGuard<'s, Option<Head>>, Error> {
        let mut guard = slot.head.lock().await;
        if guard.is_none() {
            let mut db = self.0.database.snapshot().await?;
            let head = Head::load(&mut db, room_id).await;
            db.commit().await?;
            match head? {
                Some(head) => {
                    slot.weigh(&head);
                    *guard = Some(head);
                    // Again, so that the cache learns its weight.
                    self.0.heads.insert(room_id.to_owned(), slot.clone());
                }
                None => self.0.heads.invalidate(room_id),
            }
        }
        Ok(guard)
    }
}

impl Slot {
    fn with(head: Head) -> Self {
        let slot = Self::default();
        slot.weigh(&head);
        Self {
            head: Mutex::new(Some(head)),
            ..slot
        }
    }

    fn weigh(&self, head: &Head) {
        let weight = u32::try_from(head.weight()).unwrap_or(u32::MAX);
        self.weight
            .store(weight, std::sync::atomic::Ordering::Relaxed);
    }
}
