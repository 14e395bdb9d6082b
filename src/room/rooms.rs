//! The handle of all rooms: their heads, their locks, and the way to write to them.

use std::sync::Arc;

use event::Signer;
use ruma::{OwnedServerName, RoomId, UserId};
use storage::{CommitError, Committer, Database, Heard, Nids, committer::commit_locked, rooms};
use tokio::sync::MutexGuard;
use types::Clock;

use crate::{
    Error,
    append::Pen,
    create::Moments,
    head::Head,
    slots::{Slot, Slots},
    transactions::Transactions,
};

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
    slots: Arc<Slots>,
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
        let nids = Nids::new(database.clone());
        let slots = Arc::new(Slots::new(settings.head_budget));
        let (heads, drawn) = (Arc::clone(&slots), nids.drawn());
        database.hear(move |heard| {
            if let Heard::Changes(changes) = heard {
                heads.catch_up(changes, &drawn);
            }
        });
        Self(Arc::new(Inner {
            nids,
            transactions: Transactions::new(),
            creations: Moments::default(),
            slots,
            settings,
            database,
            committer,
            signer,
            clock,
        }))
    }

    /// Whether a user belongs to this server.
    pub(crate) fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.0.settings.server_name
    }

    /// The room as it stands in memory, loaded if need be.
    pub(crate) async fn head(&self, room_id: &RoomId) -> Result<Head, Error> {
        let slot = self.0.slots.get(room_id);
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
        let slot = self.0.slots.get(room_id);
        let mut guard = self.loaded(&slot, room_id).await?;
        let head = guard.as_ref().cloned().ok_or(Error::UnknownRoom)?;
        let mut pen = Pen::new(head, &self.0.signer, self.0.clock.now(), nids);
        let result = write(&mut pen)?;
        // What is there already may be on its way to the disk only: then an empty set, which fails
        // with it, goes the same way.
        if pen.is_unused() && slot.is_durable(pen.head().revision) {
            return Ok(result);
        }
        let (set, head) = pen.finish();
        let revision = head.revision;
        *guard = Some(head);
        let commit = self.0.committer.submit(set).await;
        drop(guard);
        let Err(error) = commit.durable().await else {
            slot.reached(revision);
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
        drop(guard);
        self.write_locked(room_id, events, &slot, write).await
    }

    /// Writes in a transaction that holds the room's lock in the database: whoever lost to another
    /// process once does not lose again.
    async fn write_locked<T: Send>(
        &self,
        room_id: &RoomId,
        events: usize,
        slot: &Arc<Slot>,
        mut write: impl FnMut(&mut Pen<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let nids = self.0.nids.take(events).await?;
        let mut guard = slot.head.lock().await;
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
        self.0.slots.note(slot, &head);
        *guard = Some(head);
        Ok(result)
    }

    /// Writes a room that does not exist yet, and keeps its head.
    pub(crate) async fn write_new(&self, pen: Pen<'_>) -> Result<(), Error> {
        let (set, head) = pen.finish();
        self.0.committer.submit(set).await.durable().await?;
        let slot = self.0.slots.get(&head.room_id);
        // Who read the room as soon as it was there may have come first.
        let mut guard = slot.head.lock().await;
        if guard.is_none() {
            self.0.slots.note(&slot, &head);
            *guard = Some(head);
        }
        Ok(())
    }

    /// Locks a room and loads its head if it is not in memory, or another process has written since.
    async fn loaded<'s>(
        &self,
        slot: &'s Arc<Slot>,
        room_id: &RoomId,
    ) -> Result<MutexGuard<'s, Option<Head>>, Error> {
        let mut guard = slot.head.lock().await;
        if guard.as_ref().is_none_or(|head| !slot.is_fresh(head)) {
            *guard = None;
            let mut db = self.0.database.snapshot().await?;
            let head = Head::load(&mut db, room_id).await;
            db.commit().await?;
            match head? {
                Some(head) => {
                    self.0.slots.note(slot, &head);
                    *guard = Some(head);
                }
                None => self.0.slots.forget(room_id),
            }
        }
        Ok(guard)
    }
}
