//! What users report to the administrators: events, rooms, other users.

use ruma::{EventId, RoomId, UserId};

use crate::{Connection, Error, escape::escape};

/// What is reported.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// An event of a room.
    Event(&'a RoomId, &'a EventId),
    /// A room.
    Room(&'a RoomId),
    /// A user.
    User(&'a UserId),
}

impl Subject<'_> {
    /// The columns `room_id`, `event_id` and `user_id`; those that do not apply are empty.
    fn columns(&self) -> (&str, &str, &str) {
        match self {
            Self::Event(room_id, event_id) => (room_id.as_str(), event_id.as_str(), ""),
            Self::Room(room_id) => (room_id.as_str(), "", ""),
            Self::User(user_id) => ("", "", user_id.as_str()),
        }
    }
}

/// Stores a report. Another report of the same by the same user replaces it.
pub async fn insert(
    db: &mut Connection,
    reporter: &UserId,
    subject: Subject<'_>,
    reason: Option<&str>,
    reported_ts: i64,
) -> Result<(), Error> {
    let (room_id, event_id, user_id) = subject.columns();
    let reason = reason.map(escape);
    sqlx::query!(
        "INSERT INTO reports (reporter, room_id, event_id, user_id, reason, reported_ts)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (reporter, room_id, event_id, user_id)
         DO UPDATE SET reason = excluded.reason, reported_ts = excluded.reported_ts",
        reporter.as_str(),
        room_id,
        event_id,
        user_id,
        reason.as_deref(),
        reported_ts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many reports of a user are stored.
pub async fn count_by(db: &mut Connection, reporter: &UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM reports WHERE reporter = $1"#,
        reporter.as_str()
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}
