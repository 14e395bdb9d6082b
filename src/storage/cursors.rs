//! The stream positions of followers.

use types::StreamPosition;

use crate::{Connection, Error, Lease};

/// The position of a follower; none if it never ran.
pub async fn find(db: &mut Connection, follower: &str) -> Result<Option<StreamPosition>, Error> {
    let position =
        sqlx::query_scalar!("SELECT position FROM cursors WHERE follower = $1", follower)
            .fetch_optional(db)
            .await?;
    Ok(position.map(StreamPosition))
}

/// Adds a follower that begins after a position, unless it is there; returns its position.
pub async fn insert(
    db: &mut Connection,
    follower: &str,
    after: StreamPosition,
) -> Result<StreamPosition, Error> {
    // The update changes nothing: it makes the row visible to RETURNING.
    let position = sqlx::query_scalar!(
        "INSERT INTO cursors (follower, position) VALUES ($1, $2)
         ON CONFLICT (follower) DO UPDATE SET position = cursors.position RETURNING position",
        follower,
        after.get()
    )
    .fetch_one(db)
    .await?;
    Ok(StreamPosition(position))
}

/// Moves a follower from one position to a later one; `false` if it does not stand at the first, or if
/// the lease is another holder's. Until the transaction ends, no other holder takes the lease.
pub async fn advance(
    db: &mut Connection,
    follower: &str,
    (from, to): (StreamPosition, StreamPosition),
    lease: Option<&Lease>,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "WITH held AS (SELECT FROM leases WHERE name = $4 AND token = $5 FOR SHARE)
         UPDATE cursors SET position = $3
         WHERE follower = $1 AND position = $2 AND ($4::text IS NULL OR EXISTS (SELECT FROM held))",
        follower,
        from.get(),
        to.get(),
        lease.map(Lease::name),
        lease.map(Lease::token)
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}
