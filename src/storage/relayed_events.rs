//! Events of other servers that this one passes on to the servers in their rooms.

use std::time::Duration;

use ruma::EventId;

use crate::{Connection, Error, leases::milliseconds};

/// Marks an event to be passed on. It is marked before it is written: then it is sent to the servers
/// that are in the room when it is written, and never if it is not written.
pub async fn insert(db: &mut Connection, event_id: &EventId) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO relayed_events (event_id) VALUES ($1) ON CONFLICT DO NOTHING",
        event_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes old marks; returns how many.
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
