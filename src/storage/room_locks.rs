//! Locks of rooms between processes.

use ruma::RoomId;
use sqlx::Executor as _;

use crate::{Connection, Error};

/// What the head of a locked room is known by.
#[derive(Clone, Copy, Debug)]
pub struct LockedHead {
    /// Its revision.
    pub revision: i64,
    /// The number of the process that wrote it.
    pub writer: i64,
}

/// Waits for the turn of this process in a room, which lasts until the transaction ends. Processes are
/// served in the order in which they ask.
pub async fn take_turn(db: &mut Connection, room_id: &RoomId) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('room ' || $1, 0))",
        room_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks the head of a room against all other writers until the transaction ends. `None` if there is
/// no such room.
pub async fn lock(db: &mut Connection, room_id: &RoomId) -> Result<Option<LockedHead>, Error> {
    let head = sqlx::query_as!(
        LockedHead,
        "SELECT h.revision, h.writer FROM room_heads h JOIN rooms r ON r.room_nid = h.room_nid
         WHERE r.room_id = $1 FOR NO KEY UPDATE OF h",
        room_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(head)
}

/// The same until [`release`].
pub async fn hold(db: &mut Connection, room_id: &RoomId) -> Result<Option<LockedHead>, Error> {
    db.execute("SAVEPOINT held").await?;
    lock(db, room_id).await
}

/// Ends a [`hold`]; the rest of the transaction goes on.
pub async fn release(db: &mut Connection) -> Result<(), Error> {
    db.execute("ROLLBACK TO SAVEPOINT held").await?;
    Ok(())
}
