//! The threads of a room.

use ruma::{OwnedUserId, UserId};
use types::{EventNid, HistoryOrder, RoomNid};

use crate::{Connection, Error, escape::escape};

/// Which threads of a room are asked for.
#[derive(Clone, Copy, Debug)]
pub struct ThreadQuery<'a> {
    /// The room.
    pub room_nid: RoomNid,
    /// Only replies up to this place count.
    pub visible_until: HistoryOrder,
    /// Only threads whose last reply is up to this place.
    pub until: HistoryOrder,
    /// Only threads that this user has begun or replied in.
    pub participant: Option<&'a UserId>,
    /// Replies of these users do not count.
    pub ignored: &'a [OwnedUserId],
    /// How many at the most.
    pub limit: i64,
}

/// A thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// The event with which it begins.
    pub root: EventNid,
    /// The place of the last reply.
    pub last: HistoryOrder,
}

/// The threads of a room, the one with the last reply first.
#[tracing::instrument(name = "storage.threads.find", level = "debug", skip_all)]
pub async fn find(db: &mut Connection, query: ThreadQuery<'_>) -> Result<Vec<Thread>, Error> {
    let ignored = query.ignored.iter();
    let ignored: Vec<String> = ignored
        .map(|user_id| escape(user_id.as_str()).into_owned())
        .collect();
    let participant = query.participant.map(|user_id| escape(user_id.as_str()));
    // Goes through the replies, the newest first: the first one of each thread is its last.
    let rows = sqlx::query!(
        r#"SELECT t.event_nid AS "root!", l.history_order AS "last!"
         FROM relations l
         JOIN events e ON e.event_nid = l.event_nid AND e.verdict = 0 AND e.redacted_by_nid IS NULL AND e.sender <> ALL($4)
         JOIN events t ON t.event_id = l.target_id AND t.room_nid = l.room_nid AND t.verdict = 0 AND t.history_order IS NOT NULL
         WHERE l.room_nid = $1 AND l.rel_type = 'm.thread' AND l.history_order <= $2 AND l.history_order <= $3
            AND NOT EXISTS (
                SELECT FROM relations n
                JOIN events o ON o.event_nid = n.event_nid AND o.verdict = 0 AND o.redacted_by_nid IS NULL AND o.sender <> ALL($4)
                WHERE n.room_nid = l.room_nid AND n.target_id = l.target_id AND n.rel_type = 'm.thread'
                    AND n.history_order > l.history_order AND n.history_order <= $2)
            AND ($5::text IS NULL OR t.sender = $5 OR EXISTS (
                SELECT FROM relations n
                JOIN events o ON o.event_nid = n.event_nid AND o.verdict = 0 AND o.redacted_by_nid IS NULL AND o.sender = $5
                WHERE n.room_nid = l.room_nid AND n.target_id = l.target_id AND n.rel_type = 'm.thread' AND n.history_order <= $2))
         ORDER BY l.history_order DESC LIMIT $6"#,
        query.room_nid.get(),
        query.visible_until.get(),
        query.until.get(),
        &ignored,
        participant.as_deref(),
        query.limit
    )
    .fetch_all(db)
    .await?;
    let threads = rows.into_iter().map(|row| Thread {
        root: EventNid(row.root),
        last: HistoryOrder(row.last),
    });
    Ok(threads.collect())
}
