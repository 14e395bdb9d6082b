//! What is deleted once nothing needs it any more. Nothing but the size of the tables depends on it.

use std::time::Duration;

use types::RoomNid;

use crate::{
    Connection, Error, delayed_events, events, jobs, leases::milliseconds, relayed_events,
    snapshots, sync_connections,
};

/// How long client transactions are kept, in milliseconds.
const TRANSACTIONS_MS: i64 = 24 * 60 * 60 * 1000;
/// How long finished jobs are kept.
const FINISHED_JOBS: Duration = Duration::from_hours(7 * 24);
/// How long changes of key counts are kept for processes that have not read them.
const KEY_COUNT_CHANGES: Duration = Duration::from_hours(24);
/// How long the mark of an event to be passed on is kept if the event was never written.
const RELAYED_EVENTS: Duration = Duration::from_hours(24);
/// How long a connection of sliding sync that nobody uses is kept.
const UNUSED_SYNC_CONNECTIONS: Duration = Duration::from_hours(30 * 24);

/// Deletes client transactions that clients do not repeat any more, what is left of devices that are
/// gone, changes of key counts that every process has read, connections of sliding sync that nobody
/// uses, and delayed events and jobs that ended long ago; returns how many rows.
#[tracing::instrument(name = "storage.maintenance.delete_expired", level = "debug", skip_all)]
pub async fn delete_expired(db: &mut Connection, now_ms: i64) -> Result<u64, Error> {
    let before = now_ms.saturating_sub(TRANSACTIONS_MS);
    let mut deleted = events::delete_expired_transactions(&mut *db, before).await?;
    deleted += sqlx::query!(
        "DELETE FROM to_device_transactions WHERE sent_ts < $1",
        before
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    // Such rows come about when something is on its way to a device that is being deleted.
    deleted += sqlx::query!(
        "WITH keys AS (
            DELETE FROM one_time_keys k
            WHERE NOT EXISTS (SELECT FROM devices d WHERE d.user_id = k.user_id AND d.device_id = k.device_id)
        )
        DELETE FROM to_device t
        WHERE NOT EXISTS (SELECT FROM devices d WHERE d.user_id = t.user_id AND d.device_id = t.device_id)"
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    deleted += sqlx::query!(
        "DELETE FROM key_count_changes
         WHERE changed_at < clock_timestamp() - $1::bigint * interval '1 millisecond'",
        milliseconds(KEY_COUNT_CHANGES)
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    deleted += delayed_events::delete_ended(&mut *db, now_ms).await?;
    deleted += relayed_events::delete_old(&mut *db, RELAYED_EVENTS).await?;
    deleted += sync_connections::delete_unused(&mut *db, UNUSED_SYNC_CONNECTIONS).await?;
    deleted += jobs::delete_finished(db, FINISHED_JOBS).await?;
    Ok(deleted)
}

/// Deletes the snapshots that nothing refers to of the next `limit` rooms after `after`; returns
/// the last of them, `None` after the last room.
#[tracing::instrument(
    name = "storage.maintenance.collect_snapshots",
    level = "debug",
    skip_all
)]
pub async fn collect_snapshots(
    db: &mut Connection,
    after: RoomNid,
    limit: i64,
) -> Result<Option<RoomNid>, Error> {
    let rooms = sqlx::query_scalar!(
        "SELECT room_nid FROM rooms WHERE room_nid > $1 ORDER BY room_nid LIMIT $2",
        after.get(),
        limit
    )
    .fetch_all(&mut *db)
    .await?;
    let rooms: Vec<RoomNid> = rooms.into_iter().map(RoomNid).collect();
    if !rooms.is_empty() {
        snapshots::collect_unreferenced(db, &rooms).await?;
    }
    Ok(rooms.last().copied())
}
