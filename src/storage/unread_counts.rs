//! Counts of unread notifications, as they were at some position: from there a restarted process
//! continues.

use std::collections::{HashMap, hash_map::Entry};

use ruma::{OwnedUserId, UserId};
use types::{HistoryOrder, RoomNid, StreamPosition};

use crate::{Connection, Error};

/// The thread that stands for what is outside of threads.
pub const MAIN_THREAD: &str = "main";

/// The unread notifications of a user in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomCounts {
    /// The room.
    pub room_nid: RoomNid,
    /// Events up to here are counted.
    pub until: StreamPosition,
    /// When the push rules and ignored users they rest on last changed.
    pub settings_changed: StreamPosition,
    /// How far the user had read, by what is not bound to a thread.
    pub read_up_to: HistoryOrder,
    /// Threads with unread notifications or receipts of their own, and [`MAIN_THREAD`].
    pub threads: Vec<ThreadCounts>,
}

/// The unread notifications of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadCounts {
    /// The thread root, or [`MAIN_THREAD`].
    pub thread_id: String,
    /// How far the user had read the thread, if further than the room.
    pub read_up_to: Option<HistoryOrder>,
    /// All of them.
    pub notifications: u64,
    /// Those with a highlight.
    pub highlights: u64,
}

/// The counts of a user, by room.
pub async fn of_user(db: &mut Connection, user_id: &UserId) -> Result<Vec<RoomCounts>, Error> {
    // Rows of another count than the room's last one are out of date.
    let rows = sqlx::query!(
        "SELECT u.room_nid, u.thread_id, u.counted_until, u.settings_changed, u.read_up_to,
            u.thread_read_up_to, u.notifications, u.highlights
         FROM unread_counts u JOIN unread_counts m USING (user_id, room_nid, counted_until)
         WHERE user_id = $1 AND m.thread_id = 'main'",
        user_id.as_str()
    )
    .fetch_all(db)
    .await?;
    let mut rooms: HashMap<RoomNid, RoomCounts> = HashMap::new();
    for row in rows {
        let thread = ThreadCounts {
            thread_id: row.thread_id,
            read_up_to: row.thread_read_up_to.map(HistoryOrder),
            notifications: row.notifications.unsigned_abs(),
            highlights: row.highlights.unsigned_abs(),
        };
        match rooms.entry(RoomNid(row.room_nid)) {
            Entry::Occupied(mut room) => room.get_mut().threads.push(thread),
            Entry::Vacant(room) => {
                room.insert(RoomCounts {
                    room_nid: RoomNid(row.room_nid),
                    until: StreamPosition(row.counted_until),
                    settings_changed: StreamPosition(row.settings_changed),
                    read_up_to: HistoryOrder(row.read_up_to),
                    threads: vec![thread],
                });
            }
        }
    }
    Ok(rooms.into_values().collect())
}

/// Stores counts in place of earlier ones of the same user and room; two statements.
#[tracing::instrument(name = "storage.unread_counts.store", level = "debug", skip_all)]
pub async fn store(db: &mut Connection, counts: &[(OwnedUserId, RoomCounts)]) -> Result<(), Error> {
    let rooms = RoomColumns::of(counts);
    sqlx::query!(
        "DELETE FROM unread_counts u USING UNNEST($1::text[], $2::bigint[], $3::bigint[])
            AS w (user_id, room_nid, counted_until)
         WHERE u.user_id = w.user_id AND u.room_nid = w.room_nid AND u.counted_until <= w.counted_until",
        &rooms.users,
        &rooms.room_nids,
        &rooms.until
    )
    .execute(&mut *db)
    .await?;
    insert(db, &rooms, counts).await
}

/// The values of the columns that all threads of a room share.
struct RoomColumns {
    users: Vec<String>,
    room_nids: Vec<i64>,
    until: Vec<i64>,
}

impl RoomColumns {
    fn of(counts: &[(OwnedUserId, RoomCounts)]) -> Self {
        let users = counts.iter().map(|(user_id, _)| user_id.to_string());
        Self {
            users: users.collect(),
            room_nids: room_column(counts, |room| room.room_nid.get()),
            until: room_column(counts, |room| room.until.get()),
        }
    }
}

fn room_column(counts: &[(OwnedUserId, RoomCounts)], value: fn(&RoomCounts) -> i64) -> Vec<i64> {
    counts.iter().map(|(_, room)| value(room)).collect()
}

/// Inserts a row for each thread.
async fn insert(
    db: &mut Connection,
    rooms: &RoomColumns,
    counts: &[(OwnedUserId, RoomCounts)],
) -> Result<(), Error> {
    let threads = counts
        .iter()
        .zip(1_i64..)
        .flat_map(|((_, room), index)| room.threads.iter().map(move |thread| (index, thread)));
    let threads: Vec<(i64, &ThreadCounts)> = threads.collect();
    let number = |value: fn(&ThreadCounts) -> i64| -> Vec<i64> {
        threads.iter().map(|(_, thread)| value(thread)).collect()
    };
    let thread_ids: Vec<&str> = threads
        .iter()
        .map(|(_, thread)| &*thread.thread_id)
        .collect();
    let thread_read: Vec<Option<i64>> = threads
        .iter()
        .map(|(_, thread)| thread.read_up_to.map(HistoryOrder::get))
        .collect();
    let indexes: Vec<i64> = threads.iter().map(|(index, _)| *index).collect();
    // Another process may have stored a later count meanwhile.
    sqlx::query!(
        "INSERT INTO unread_counts (user_id, room_nid, thread_id, counted_until, settings_changed,
            read_up_to, thread_read_up_to, notifications, highlights)
         SELECT r.user_id, r.room_nid, t.thread_id, r.counted_until, r.settings_changed,
            r.read_up_to, t.read_up_to, t.notifications, t.highlights
         FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
            WITH ORDINALITY AS r (user_id, room_nid, counted_until, settings_changed, read_up_to, index)
         JOIN UNNEST($6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[])
            AS t (index, thread_id, read_up_to, notifications, highlights) ON t.index = r.index
         ORDER BY r.user_id, r.room_nid, t.thread_id
         ON CONFLICT (user_id, room_nid, thread_id) DO UPDATE
            SET counted_until = excluded.counted_until, settings_changed = excluded.settings_changed,
                read_up_to = excluded.read_up_to, thread_read_up_to = excluded.thread_read_up_to,
                notifications = excluded.notifications, highlights = excluded.highlights
            WHERE unread_counts.counted_until <= excluded.counted_until",
        &rooms.users,
        &rooms.room_nids,
        &rooms.until,
        &room_column(counts, |room| room.settings_changed.get()),
        &room_column(counts, |room| room.read_up_to.get()),
        &indexes,
        &thread_ids as &[&str],
        &thread_read as &[Option<i64>],
        &number(|thread| i64::try_from(thread.notifications).unwrap_or(i64::MAX)),
        &number(|thread| i64::try_from(thread.highlights).unwrap_or(i64::MAX))
    )
    .execute(db)
    .await?;
    Ok(())
}
