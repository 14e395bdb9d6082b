//! Events of other servers that this one passes on to the servers in their rooms.

use std::time::Duration;

use ruma::EventId;

use crate::{Connection, Error, leases::milliseconds};

/// Has an event passed on once it is written: to the servers that are in the room then. To be called
/// before it is written.
pub async fn insert(db: &mut Connection, event_id: &EventId) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO relayed_events (event_id) VALUES ($1) ON CONFLICT DO NOTHING",
        event_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes what was inserted longer ago than `age`; returns how many rows.
pub(crate) async fn delete_old(db: &mut Connection, age: Duration) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "DELETE FROM relayed_events
         WHERE added_at < clock_timestamp() - $1::bigint * interval '1 millisecond'",
        milliseconds(age)
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
