//! A room that is locked in the database, for one write set that is made from what is read there.

use std::sync::Arc;

use ruma::RoomId;
use storage::{
    Tx,
    committer::{WriteSet, commit_locked},
    room_locks,
    rooms::RoomWrite,
};
use tokio::sync::{MutexGuard, SemaphorePermit};

use crate::{Error, Rooms, append::redactions, head::Head, heads::HeadEntry};

/// A room that nobody else writes to, in this process or another.
pub(crate) struct LockedRoom<'e> {
    entry: &'e Arc<HeadEntry>,
    pending: MutexGuard<'e, Option<Head>>,
    pub(crate) tx: Tx,
    pub(crate) head: Head,
    _turn: SemaphorePermit<'e>,
}

impl Rooms {
    /// Locks a room, in this process and in the database.
    pub(crate) async fn lock_room<'e>(
        &'e self,
        room_id: &RoomId,
        entry: &'e Arc<HeadEntry>,
    ) -> Result<LockedRoom<'e>, Error> {
        let pending = entry.lock_without_turn().await;
        let acquired = self.0.turns.acquire().await;
        let turn = acquired.map_err(|_| storage::CommitError::Stopping)?;
        let pinned = self.0.live.pin_room_state(room_id).await?;
        let pinned = pinned.ok_or(Error::UnknownRoom)?;
        let mut tx = self.0.database.begin().await?;
        // Those who write in turns wait for it; those who do not lose to it.
        room_locks::take_turn(&mut tx, room_id).await?;
        let locked = room_locks::lock(&mut tx, room_id).await?;
        let locked = locked.ok_or(Error::UnknownRoom)?;
        let head = self.locked_head(&mut tx, room_id, &pinned, locked).await?;
        Ok(LockedRoom {
            entry,
            pending,
            tx,
            head,
            _turn: turn,
        })
    }
}

impl LockedRoom<'_> {
    /// Commits what is filled into the history, which leaves the head as it is, and unlocks the room.
    pub(crate) async fn commit_history(self, rooms: &Rooms, write: RoomWrite) -> Result<(), Error> {
        let set = WriteSet {
            room: Some(write),
            ..WriteSet::default()
        };
        let sets = [set];
        let results = commit_locked(self.tx, &sets).await;
        let committed = results.into_iter().next();
        committed.unwrap_or(Err(storage::CommitError::Stopping))?;
        for (nid, left) in sets.iter().flat_map(redactions) {
            rooms.0.live.event_cache().redact(nid, &left);
        }
        Ok(())
    }

    /// Commits a write, and unlocks the room.
    pub(crate) async fn commit(mut self, rooms: &Rooms, write: RoomWrite) -> Result<(), Error> {
        let revision = write.next.version.revision;
        let set = WriteSet {
            room: Some(write),
            ..WriteSet::default()
        };
        let sets = [set];
        // What of this process is on its way to the disk was built on another head, and is decided
        // anew.
        self.entry.discard_head(&mut self.pending);
        let results = commit_locked(self.tx, &sets).await;
        let committed = results.into_iter().next();
        let committed = committed.unwrap_or(Err(storage::CommitError::Stopping))?;
        let redacted = sets.iter().flat_map(redactions).collect();
        rooms.settle(self.entry, revision, committed, redacted);
        Ok(())
    }
}
