//! Memberships of users of other servers that this one passes on to the servers in their rooms.

use std::{collections::HashSet, time::Duration};

use ruma::{EventId, OwnedEventId};

use crate::{Connection, Error, leases::milliseconds, rows::id};

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

/// Which of these events are to be passed on.
pub async fn among(
    db: &mut Connection,
    event_ids: &[OwnedEventId],
) -> Result<HashSet<OwnedEventId>, Error> {
    let event_ids: Vec<String> = event_ids.iter().map(ToString::to_string).collect();
    let marked = sqlx::query_scalar!(
        "SELECT event_id FROM relayed_events WHERE event_id = ANY($1)",
        &event_ids
    )
    .fetch_all(db)
    .await?;
    marked.into_iter().map(id).collect()
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
