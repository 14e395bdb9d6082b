//! The stream positions of followers.

use types::StreamPosition;

use crate::{Connection, Error};

/// The position of a follower; a new one starts at the beginning.
pub async fn find(db: &mut Connection, follower: &str) -> Result<StreamPosition, Error> {
    let position =
        sqlx::query_scalar!("SELECT position FROM cursors WHERE follower = $1", follower)
            .fetch_optional(db)
            .await?;
    Ok(StreamPosition(position.unwrap_or_default()))
}

/// Moves the follower to a position; never backwards.
pub async fn advance(
    db: &mut Connection,
    follower: &str,
    position: StreamPosition,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO cursors (follower, position) VALUES ($1, $2)
         ON CONFLICT (follower) DO UPDATE SET position = GREATEST(cursors.position, excluded.position)",
        follower,
        position.get()
    )
    .execute(db)
    .await?;
    Ok(())
}
