//! Which processes live: each holds an advisory lock on its number while it is connected.
//!
//! Leases run out by time, which must be long enough for a process that is slow. PostgreSQL knows at once
//! when the session of a process that was killed has ended, and with it the lock: then others end its
//! leases. The lock is a hint only. Should the process live after all, its leases may be taken, which is
//! found by their tokens, as after any other expiry.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Connection, Database, Error};

/// How often a process looks for others that are gone.
const PERIOD: Duration = Duration::from_secs(2);

/// Says that a process lives as long as this connection does.
pub(super) async fn register(listener: &mut PgListener, process: i64) -> Result<(), sqlx::Error> {
    // Shared: after a loss of the connection, PostgreSQL may not know yet that it is lost.
    sqlx::query!("SELECT pg_advisory_lock_shared($1)", process)
        .execute(&mut *listener)
        .await?;
    // After the lock: whoever sees the row finds the lock.
    sqlx::query!(
        "INSERT INTO processes (number) VALUES ($1) ON CONFLICT (number) DO NOTHING",
        process
    )
    .execute(listener)
    .await?;
    Ok(())
}

/// Ends the leases of processes that are gone; goes on until it is cancelled.
pub(super) async fn end_leases_of_gone(database: &Database) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        if let Err(error) = end_leases(database).await {
            tracing::warn!(%error, "Processes that are gone could not be looked for");
        }
    }
}

async fn end_leases(database: &Database) -> Result<(), Error> {
    let gone = gone(&mut *database.acquire().await?).await?;
    if gone.is_empty() {
        return Ok(());
    }
    let mut tx = database.begin().await?;
    // Before the leases: a process that registers again meanwhile waits for this, and takes its leases after it.
    let gone = delete(&mut tx, &gone).await?;
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE leases SET expires_at = '-infinity' WHERE holder = ANY($1) AND expires_at > clock_timestamp()",
        &gone
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE destinations SET lease_expires_at = '-infinity' WHERE holder = ANY($1) AND lease_expires_at > clock_timestamp()",
        &gone
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE jobs SET lease_expires_at = '-infinity' WHERE state = 1 AND holder = ANY($1)",
        &gone
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    tracing::info!(
        processes = gone.len(),
        "Other processes are gone; their leases have ended"
    );
    Ok(())
}

/// Forgets those of the processes that do not hold their lock; returns which.
async fn delete(db: &mut Connection, processes: &[i64]) -> Result<Vec<i64>, Error> {
    let deleted = sqlx::query_scalar!(
        "DELETE FROM processes p WHERE number = ANY($1) AND NOT EXISTS (
            SELECT FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (l.classid::bigint << 32) | l.objid::bigint = p.number
         )
         RETURNING number",
        processes
    )
    .fetch_all(db)
    .await?;
    Ok(deleted)
}

/// The processes that have registered and do not hold their lock any more.
async fn gone(db: &mut Connection) -> Result<Vec<i64>, Error> {
    // A lock on a number is shown in two halves.
    let gone = sqlx::query_scalar!(
        "SELECT p.number FROM processes p WHERE NOT EXISTS (
            SELECT FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (l.classid::bigint << 32) | l.objid::bigint = p.number
         )"
    )
    .fetch_all(db)
    .await?;
    Ok(gone)
}
