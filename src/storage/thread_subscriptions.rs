//! The threads that users have subscribed to (MSC4306).

use ruma::{OwnedEventId, OwnedRoomId, UserId};
use types::{EventNid, RoomNid, StreamPosition};

use crate::{Connection, Error, rows::id};

/// A thread of a room, and whose subscription to it is meant.
#[derive(Clone, Copy, Debug)]
pub struct ThreadOfUser<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The room.
    pub room_nid: RoomNid,
    /// The first event of the thread.
    pub root_nid: EventNid,
}

/// A subscription, or the end of one.
#[derive(Clone, Debug)]
pub struct ThreadSubscription {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The first event of the thread.
    pub root: OwnedEventId,
    /// Whether the user is subscribed.
    pub is_subscribed: bool,
    /// Whether a client has subscribed by itself.
    pub is_automatic: bool,
    /// Its number among the changes of all subscriptions.
    pub bump_stamp: i64,
}

/// What came of a request to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// The user is subscribed.
    Yes,
    /// The user has unsubscribed since the event for which a client would subscribe.
    UnsubscribedSince,
    /// The user has as many subscriptions as the limit.
    TooMany,
}

/// Whether a user is subscribed to a thread automatically; `None` if the user is not subscribed.
pub async fn find(db: &mut Connection, thread: ThreadOfUser<'_>) -> Result<Option<bool>, Error> {
    let is_automatic = sqlx::query_scalar!(
        "SELECT is_automatic FROM thread_subscriptions
         WHERE user_id = $1 AND room_nid = $2 AND root_nid = $3 AND is_subscribed",
        thread.user_id.as_str(),
        thread.room_nid.get(),
        thread.root_nid.get()
    )
    .fetch_optional(db)
    .await?;
    Ok(is_automatic)
}

/// Subscribes a user; automatically because of an event at `cause`, if that is given. An automatic one
/// changes nothing where there is a subscription.
pub async fn subscribe(
    db: &mut Connection,
    thread: ThreadOfUser<'_>,
    cause: Option<StreamPosition>,
    limit: i64,
) -> Result<Subscribed, Error> {
    // Requests in parallel may exceed the limit by their number.
    let row = sqlx::query!(
        r#"WITH present AS (
            SELECT is_subscribed, unsubscribed_at FROM thread_subscriptions
            WHERE user_id = $1 AND room_nid = $2 AND root_nid = $3
         ), written AS (
            INSERT INTO thread_subscriptions AS t (user_id, room_nid, root_nid, is_subscribed, is_automatic)
            SELECT $1, $2, $3, true, $4::bigint IS NOT NULL
            WHERE EXISTS (SELECT FROM present)
                OR (SELECT count(*) FROM thread_subscriptions c WHERE c.user_id = $1) < $5
            ON CONFLICT (user_id, room_nid, root_nid) DO UPDATE
                SET is_subscribed = true, is_automatic = excluded.is_automatic,
                    bump_stamp = nextval('thread_subscription_changes')
                WHERE NOT excluded.is_automatic OR (NOT t.is_subscribed AND t.unsubscribed_at < $4::bigint)
            RETURNING true
         )
         SELECT EXISTS (SELECT FROM written) AS "is_written!",
            (SELECT is_subscribed FROM present) AS was_subscribed"#,
        thread.user_id.as_str(),
        thread.room_nid.get(),
        thread.root_nid.get(),
        cause.map(StreamPosition::get),
        limit
    )
    .fetch_one(db)
    .await?;
    let subscribed = match (row.is_written, row.was_subscribed) {
        (true, _) | (_, Some(true)) => Subscribed::Yes,
        (false, Some(false)) => Subscribed::UnsubscribedSince,
        (false, None) => Subscribed::TooMany,
    };
    Ok(subscribed)
}

/// Ends a subscription, if there is one. Events up to now do not lead to another automatic one.
pub async fn unsubscribe(db: &mut Connection, thread: ThreadOfUser<'_>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE thread_subscriptions
         SET is_subscribed = false, unsubscribed_at = (SELECT position FROM stream),
            bump_stamp = nextval('thread_subscription_changes')
         WHERE user_id = $1 AND room_nid = $2 AND root_nid = $3 AND is_subscribed",
        thread.user_id.as_str(),
        thread.room_nid.get(),
        thread.root_nid.get()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The latest changes of a user's subscriptions between two numbers, exclusive, the last one first.
pub async fn changes(
    db: &mut Connection,
    user_id: &UserId,
    (after, before): (i64, i64),
    limit: i64,
) -> Result<Vec<ThreadSubscription>, Error> {
    let rows = sqlx::query!(
        "SELECT r.room_id, e.event_id, t.is_subscribed, t.is_automatic, t.bump_stamp
         FROM thread_subscriptions t
         JOIN rooms r ON r.room_nid = t.room_nid
         JOIN events e ON e.event_nid = t.root_nid
         WHERE t.user_id = $1 AND t.bump_stamp > $2 AND t.bump_stamp < $3
         ORDER BY t.bump_stamp DESC LIMIT $4",
        user_id.as_str(),
        after,
        before,
        limit
    )
    .fetch_all(db)
    .await?;
    let changes = rows.into_iter().map(|row| {
        Ok(ThreadSubscription {
            room_id: id(row.room_id)?,
            root: id(row.event_id)?,
            is_subscribed: row.is_subscribed,
            is_automatic: row.is_automatic,
            bump_stamp: row.bump_stamp,
        })
    });
    changes.collect()
}

/// Deletes all subscriptions of a closed account.
pub async fn delete_all(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM thread_subscriptions WHERE user_id = $1",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}
