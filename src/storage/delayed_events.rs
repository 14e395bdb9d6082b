//! Events that users have scheduled to be sent later (MSC4140).
//!
//! When one is due, a process claims it for some time and sends it under a transaction of its own. A row stays
//! for a while after its end, for clients that repeat the request by which they scheduled it.

use std::time::Duration;

use ruma::{DeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use types::{RoomNid, StreamPosition};

use crate::{Connection, Error, leases::milliseconds, rows::id};

/// How long rows stay after their end.
const KEPT: Duration = Duration::from_hours(24);

/// An event that is to be sent later.
#[derive(Clone, Copy, Debug)]
pub struct NewDelayedEvent<'a> {
    /// Names it to those who restart, cancel or send it; not guessable.
    pub delay_id: &'a str,
    /// The request that scheduled it.
    pub request: DelayRequest<'a>,
    /// The state key; none for a message.
    pub state_key: Option<&'a str>,
    /// The content, a JSON object.
    pub content: &'a str,
    /// The delay in milliseconds.
    pub delay_ms: i64,
    /// When the delay begins, in milliseconds since the epoch.
    pub now_ms: i64,
}

/// Identifies the request that scheduled an event.
#[derive(Clone, Copy, Debug)]
pub struct DelayRequest<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The device, if the user has one.
    pub device_id: Option<&'a DeviceId>,
    /// The room.
    pub room_id: &'a RoomId,
    /// The type of the event.
    pub event_type: &'a str,
    /// The client's transaction id, if the endpoint has one.
    pub transaction_id: Option<&'a str>,
}

impl DelayRequest<'_> {
    /// Empty without a device, so that the unique constraint covers these requests, too.
    fn device_column(&self) -> &str {
        self.device_id.map_or("", DeviceId::as_str)
    }
}

/// An event that waits.
#[derive(Clone, Debug)]
pub struct DelayedEvent {
    /// Its name.
    pub delay_id: String,
    /// Its sender.
    pub user_id: OwnedUserId,
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its type.
    pub event_type: String,
    /// Its state key; none for a message.
    pub state_key: Option<String>,
    /// Its content, a JSON object.
    pub content: String,
    /// The delay in milliseconds.
    pub delay_ms: i64,
    /// When the delay began, in milliseconds since the epoch.
    pub running_since: i64,
}

/// An event that this process sends, as long as no other has claimed it.
#[derive(Clone, Debug)]
pub struct ClaimedEvent {
    /// The event.
    pub event: DelayedEvent,
    /// How often in a row it could not be sent.
    pub failures: i32,
    token: i64,
}

/// A state event that has become part of its room's state.
#[derive(Clone, Debug)]
pub struct ReplacingEvent {
    /// The room.
    pub room_nid: RoomNid,
    /// When.
    pub position: StreamPosition,
    /// Its type.
    pub event_type: String,
    /// Its state key.
    pub state_key: String,
    /// Its sender.
    pub sender: String,
}

struct Row {
    delay_id: String,
    user_id: String,
    room_id: String,
    event_type: String,
    state_key: Option<String>,
    content: String,
    delay_ms: i64,
    running_since: i64,
}

impl TryFrom<Row> for DelayedEvent {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            delay_id: row.delay_id,
            user_id: id(row.user_id)?,
            room_id: id(row.room_id)?,
            event_type: row.event_type,
            state_key: row.state_key,
            content: row.content,
            delay_ms: row.delay_ms,
            running_since: row.running_since,
        })
    }
}

struct ClaimedRow {
    delay_id: String,
    user_id: String,
    room_id: String,
    event_type: String,
    state_key: Option<String>,
    content: String,
    delay_ms: i64,
    running_since: i64,
    due_at: i64,
    failures: i32,
    token: i64,
}

impl TryFrom<ClaimedRow> for ClaimedEvent {
    type Error = Error;

    fn try_from(row: ClaimedRow) -> Result<Self, Error> {
        let event = Row {
            delay_id: row.delay_id,
            user_id: row.user_id,
            room_id: row.room_id,
            event_type: row.event_type,
            state_key: row.state_key,
            content: row.content,
            delay_ms: row.delay_ms,
            running_since: row.running_since,
        };
        Ok(Self {
            event: event.try_into()?,
            failures: row.failures,
            token: row.token,
        })
    }
}

/// Schedules an event, once however often the request is repeated, and returns its name; `None` if
/// the user has as many waiting events as `limit`.
#[tracing::instrument(name = "storage.delayed_events.insert", level = "debug", skip_all)]
pub async fn insert(
    db: &mut Connection,
    new: NewDelayedEvent<'_>,
    limit: i64,
) -> Result<Option<String>, Error> {
    let request = new.request;
    // Requests in parallel may exceed the limit by their number.
    let delay_id = sqlx::query_scalar!(
        "INSERT INTO delayed_events AS d (delay_id, user_id, device_id, transaction_id, room_id, event_type,
            state_key, content, delay_ms, running_since, due_at, scheduled_at)
         SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text,
            $9::bigint, $10::bigint, $9::bigint + $10::bigint, (SELECT position FROM stream)
         WHERE (SELECT count(*) FROM delayed_events w WHERE w.user_id = $2::text AND w.ended_at IS NULL) < $11
            OR EXISTS (SELECT FROM delayed_events s WHERE s.user_id = $2::text AND s.device_id = $3::text
                AND s.transaction_id = $4::text AND s.room_id = $5::text AND s.event_type = $6::text)
         ON CONFLICT (user_id, device_id, room_id, event_type, transaction_id)
            DO UPDATE SET delay_id = d.delay_id
         RETURNING delay_id",
        new.delay_id,
        request.user_id.as_str(),
        request.device_column(),
        request.transaction_id,
        request.room_id.as_str(),
        request.event_type,
        new.state_key,
        new.content,
        new.delay_ms,
        new.now_ms,
        limit
    )
    .fetch_optional(db)
    .await?;
    Ok(delay_id)
}

/// The event that a request scheduled, whatever became of it.
pub async fn scheduled_by(
    db: &mut Connection,
    request: DelayRequest<'_>,
) -> Result<Option<String>, Error> {
    let delay_id = sqlx::query_scalar!(
        "SELECT delay_id FROM delayed_events
         WHERE user_id = $1 AND device_id = $2 AND room_id = $3 AND event_type = $4 AND transaction_id = $5",
        request.user_id.as_str(),
        request.device_column(),
        request.room_id.as_str(),
        request.event_type,
        request.transaction_id
    )
    .fetch_optional(db)
    .await?;
    Ok(delay_id)
}

/// The events of a user that wait, the next one first.
pub async fn of_user(db: &mut Connection, user_id: &UserId) -> Result<Vec<DelayedEvent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT delay_id, user_id, room_id, event_type, state_key, content, delay_ms, running_since
         FROM delayed_events WHERE user_id = $1 AND ended_at IS NULL ORDER BY due_at, delay_id",
        user_id.as_str()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(DelayedEvent::try_from).collect()
}

/// An event of a user that waits.
pub async fn find(
    db: &mut Connection,
    user_id: &UserId,
    delay_id: &str,
) -> Result<Option<DelayedEvent>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT delay_id, user_id, room_id, event_type, state_key, content, delay_ms, running_since
         FROM delayed_events WHERE delay_id = $1 AND user_id = $2 AND ended_at IS NULL",
        delay_id,
        user_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    row.map(DelayedEvent::try_from).transpose()
}

/// Lets the delay of an event begin again; `false` if it does not wait any more.
pub async fn restart(db: &mut Connection, delay_id: &str, now_ms: i64) -> Result<bool, Error> {
    let restarted = sqlx::query!(
        "UPDATE delayed_events SET running_since = $2, due_at = $2 + delay_ms, failures = 0
         WHERE delay_id = $1 AND ended_at IS NULL AND lease_expires_at <= clock_timestamp()",
        delay_id,
        now_ms
    )
    .execute(db)
    .await?;
    Ok(restarted.rows_affected() == 1)
}

/// Cancels an event; `false` if it does not wait any more.
pub async fn cancel(db: &mut Connection, delay_id: &str, now_ms: i64) -> Result<bool, Error> {
    let cancelled = sqlx::query!(
        "UPDATE delayed_events SET ended_at = $2, content = ''
         WHERE delay_id = $1 AND ended_at IS NULL AND lease_expires_at <= clock_timestamp()",
        delay_id,
        now_ms
    )
    .execute(db)
    .await?;
    Ok(cancelled.rows_affected() == 1)
}

/// Cancels the state events in whose place others have set the same state since they were scheduled;
/// returns how many.
#[tracing::instrument(
    name = "storage.delayed_events.cancel_replaced",
    level = "debug",
    skip_all
)]
pub async fn cancel_replaced(
    db: &mut Connection,
    by: &[ReplacingEvent],
    now_ms: i64,
) -> Result<u64, Error> {
    let rooms: Vec<i64> = by.iter().map(|event| event.room_nid.get()).collect();
    let positions: Vec<i64> = by.iter().map(|event| event.position.get()).collect();
    let event_types: Vec<&str> = by.iter().map(|event| &*event.event_type).collect();
    let state_keys: Vec<&str> = by.iter().map(|event| &*event.state_key).collect();
    let senders: Vec<&str> = by.iter().map(|event| &*event.sender).collect();
    let cancelled = sqlx::query!(
        "UPDATE delayed_events d SET ended_at = $6, content = ''
         FROM UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[])
            AS n (room_nid, position, event_type, state_key, sender)
         JOIN rooms r ON r.room_nid = n.room_nid
         WHERE d.room_id = r.room_id AND d.event_type = n.event_type AND d.state_key = n.state_key
            AND d.user_id <> n.sender AND d.scheduled_at < n.position
            AND d.ended_at IS NULL AND d.lease_expires_at <= clock_timestamp()",
        &rooms,
        &positions,
        &event_types as &[&str],
        &state_keys as &[&str],
        &senders as &[&str],
        now_ms
    )
    .execute(db)
    .await?;
    Ok(cancelled.rows_affected())
}

/// Claims events that are due, and returns those first that have been for longest.
#[tracing::instrument(name = "storage.delayed_events.claim_due", level = "debug", skip_all)]
pub async fn claim_due(
    db: &mut Connection,
    now_ms: i64,
    limit: i64,
    time: Duration,
) -> Result<Vec<ClaimedEvent>, Error> {
    let mut rows = sqlx::query_as!(
        ClaimedRow,
        "UPDATE delayed_events SET token = token + 1,
            lease_expires_at = clock_timestamp() + $3::bigint * interval '1 millisecond'
         WHERE delay_id IN (
            SELECT delay_id FROM delayed_events
            WHERE ended_at IS NULL AND due_at <= $1 AND lease_expires_at <= clock_timestamp()
            ORDER BY due_at, delay_id LIMIT $2 FOR UPDATE SKIP LOCKED
         )
         RETURNING delay_id, user_id, room_id, event_type, state_key, content, delay_ms, running_since,
            due_at, failures, token",
        now_ms,
        limit,
        milliseconds(time)
    )
    .fetch_all(db)
    .await?;
    rows.sort_by(|a, b| (a.due_at, &a.delay_id).cmp(&(b.due_at, &b.delay_id)));
    rows.into_iter().map(ClaimedEvent::try_from).collect()
}

/// Claims an event, whether it is due or not; `None` if it does not wait any more.
pub async fn claim(
    db: &mut Connection,
    delay_id: &str,
    time: Duration,
) -> Result<Option<ClaimedEvent>, Error> {
    let row = sqlx::query_as!(
        ClaimedRow,
        "UPDATE delayed_events SET token = token + 1,
            lease_expires_at = clock_timestamp() + $2::bigint * interval '1 millisecond'
         WHERE delay_id = $1 AND ended_at IS NULL AND lease_expires_at <= clock_timestamp()
         RETURNING delay_id, user_id, room_id, event_type, state_key, content, delay_ms, running_since,
            due_at, failures, token",
        delay_id,
        milliseconds(time)
    )
    .fetch_optional(db)
    .await?;
    row.map(ClaimedEvent::try_from).transpose()
}

/// When the next event is due that no process sends now, in milliseconds since the epoch.
pub async fn next_due(db: &mut Connection) -> Result<Option<i64>, Error> {
    let due = sqlx::query_scalar!(
        "SELECT due_at FROM delayed_events
         WHERE ended_at IS NULL AND lease_expires_at <= clock_timestamp() ORDER BY due_at LIMIT 1"
    )
    .fetch_optional(db)
    .await?;
    Ok(due)
}

/// Deletes all events of a closed account.
pub async fn delete_all(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM delayed_events WHERE user_id = $1",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes what ended long ago; returns how many rows.
pub(crate) async fn delete_ended(db: &mut Connection, now_ms: i64) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "DELETE FROM delayed_events WHERE ended_at < $1",
        now_ms.saturating_sub(milliseconds(KEPT))
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

impl ClaimedEvent {
    /// Ends the event: it was sent, or cannot be.
    pub async fn end(&self, db: &mut Connection, now_ms: i64) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE delayed_events SET ended_at = $3, content = '' WHERE delay_id = $1 AND token = $2",
            self.event.delay_id,
            self.token,
            now_ms
        )
        .execute(db)
        .await?;
        Ok(())
    }

    /// Gives the event back, to be sent at another time, in milliseconds since the epoch.
    pub async fn failed(&self, db: &mut Connection, due_ms: i64) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE delayed_events
             SET due_at = $3, failures = failures + 1, lease_expires_at = '-infinity'
             WHERE delay_id = $1 AND token = $2",
            self.event.delay_id,
            self.token,
            due_ms
        )
        .execute(db)
        .await?;
        Ok(())
    }
}
