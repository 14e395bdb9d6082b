//! The inbox: events of other servers that were answered for, and are still to be taken into their
//! rooms.
//!
//! A batch is what one transaction has for one room. Those of a room are worked off in the order in
//! which they came, each claimed by one process for some time.

use std::time::Duration;

use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, TransactionId};

use crate::{Connection, Error, leases::milliseconds, rows::id};

/// The most batches that wait for a room, and of a server.
const MAX_OF_ROOM: i64 = 200;
const MAX_OF_ORIGIN: i64 = 1_000;

/// What a transaction of another server has for a room.
#[derive(Clone, Copy, Debug)]
pub struct NewBatch<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// The server.
    pub origin: &'a ServerName,
    /// The transaction.
    pub transaction_id: &'a TransactionId,
    /// The events, a JSON array.
    pub pdus: &'a str,
}

/// A batch that this process works off.
#[derive(Clone, Debug)]
pub struct ClaimedBatch {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The server that has sent it.
    pub origin: OwnedServerName,
    /// The events, a JSON array.
    pub pdus: String,
    /// How often in a row it could not be worked off.
    pub failures: i32,
    batch_nid: i64,
    token: i64,
}

/// Stores a batch, once however often it is sent; `false` if so much waits of the server or for the
/// room that it is not taken.
#[tracing::instrument(name = "storage.inbox.insert", level = "debug", skip_all)]
pub async fn insert(db: &mut Connection, batch: NewBatch<'_>) -> Result<bool, Error> {
    let stored = sqlx::query_scalar!(
        "INSERT INTO inbox (room_id, origin, transaction_id, pdus)
         SELECT $1, $2, $3, $4
         WHERE (SELECT count(*) FROM inbox WHERE room_id = $1) < $5
            AND (SELECT count(*) FROM inbox WHERE origin = $2) < $6
         ON CONFLICT (origin, transaction_id, room_id) DO UPDATE SET pdus = inbox.pdus
         RETURNING batch_nid",
        batch.room_id.as_str(),
        batch.origin.as_str(),
        batch.transaction_id.as_str(),
        batch.pdus,
        MAX_OF_ROOM,
        MAX_OF_ORIGIN
    )
    .fetch_optional(db)
    .await?;
    Ok(stored.is_some())
}

/// Claims the oldest batches of rooms in which no other process works one off.
#[tracing::instrument(name = "storage.inbox.claim", level = "debug", skip_all)]
pub async fn claim(
    db: &mut Connection,
    limit: i64,
    time: Duration,
) -> Result<Vec<ClaimedBatch>, Error> {
    let rows = sqlx::query!(
        "UPDATE inbox SET token = token + 1,
            lease_expires_at = clock_timestamp() + $2::bigint * interval '1 millisecond'
         WHERE batch_nid IN (
            SELECT b.batch_nid FROM inbox b
            WHERE b.retry_at <= clock_timestamp() AND b.lease_expires_at <= clock_timestamp()
                AND NOT EXISTS (SELECT FROM inbox o WHERE o.room_id = b.room_id AND o.batch_nid < b.batch_nid)
            ORDER BY b.batch_nid LIMIT $1 FOR UPDATE SKIP LOCKED
         )
         RETURNING batch_nid, room_id, origin, pdus, failures, token",
        limit,
        milliseconds(time)
    )
    .fetch_all(db)
    .await?;
    let batches = rows.into_iter().map(|row| {
        Ok(ClaimedBatch {
            room_id: id(row.room_id)?,
            origin: id(row.origin)?,
            pdus: row.pdus,
            failures: row.failures,
            batch_nid: row.batch_nid,
            token: row.token,
        })
    });
    batches.collect()
}

/// The rooms that batches wait for.
pub async fn rooms(db: &mut Connection) -> Result<Vec<OwnedRoomId>, Error> {
    let rooms = sqlx::query_scalar!("SELECT DISTINCT room_id FROM inbox")
        .fetch_all(db)
        .await?;
    rooms.into_iter().map(id).collect()
}

/// Whether a batch waits for a room.
pub async fn has_room(db: &mut Connection, room_id: &RoomId) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM inbox WHERE room_id = $1) AS "found!""#,
        room_id.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(found)
}

impl ClaimedBatch {
    /// Makes the claim last for some time from now; `false` if another process has it.
    pub async fn renew(&self, db: &mut Connection, time: Duration) -> Result<bool, Error> {
        let renewed = sqlx::query!(
            "UPDATE inbox SET lease_expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE batch_nid = $1 AND token = $2",
            self.batch_nid,
            self.token,
            milliseconds(time)
        )
        .execute(db)
        .await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Takes the batch out: it has been worked off.
    pub async fn delete(&self, db: &mut Connection) -> Result<(), Error> {
        sqlx::query!(
            "DELETE FROM inbox WHERE batch_nid = $1 AND token = $2",
            self.batch_nid,
            self.token
        )
        .execute(db)
        .await?;
        Ok(())
    }

    /// Gives the batch back, to be tried again after some time.
    pub async fn failed(&self, db: &mut Connection, pause: Duration) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE inbox SET failures = failures + 1, lease_expires_at = '-infinity',
                retry_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
             WHERE batch_nid = $1 AND token = $2",
            self.batch_nid,
            self.token,
            milliseconds(pause)
        )
        .execute(db)
        .await?;
        Ok(())
    }

    /// Gives the batch back as it was.
    pub async fn release(&self, db: &mut Connection) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE inbox SET lease_expires_at = '-infinity' WHERE batch_nid = $1 AND token = $2",
            self.batch_nid,
            self.token
        )
        .execute(db)
        .await?;
        Ok(())
    }
}
