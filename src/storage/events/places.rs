//! Places in a room's history.

use types::{EventNid, HistoryOrder, RoomNid};

use super::{Direction, StoredEvent, by_nids};
use crate::{Connection, Error};

/// Free places that follow each other, from `lowest` up to and with `highest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreePlaces {
    /// The latest of them.
    pub highest: HistoryOrder,
    /// The earliest of them.
    pub lowest: HistoryOrder,
}

/// The latest free places before a place of a room's history; none if there are no more.
#[tracing::instrument(name = "storage.events.free_places", level = "debug", skip_all)]
pub async fn free_places(
    db: &mut Connection,
    room_nid: RoomNid,
    before: HistoryOrder,
) -> Result<Option<FreePlaces>, Error> {
    let wanted = before.before();
    if wanted == HistoryOrder::MIN {
        return Ok(None);
    }
    // Walks down the events that stand one right after the other.
    let highest = sqlx::query_scalar!(
        r#"SELECT coalesce(
            (SELECT $2::bigint WHERE NOT EXISTS (
                SELECT FROM events e WHERE e.room_nid = $1 AND e.history_order = $2)),
            (SELECT e.history_order - 1 FROM events e
             WHERE e.room_nid = $1 AND e.history_order <= $2 AND e.history_order > $3 AND NOT EXISTS (
                SELECT FROM events p WHERE p.room_nid = $1 AND p.history_order = e.history_order - 1)
             ORDER BY e.history_order DESC LIMIT 1))"#,
        room_nid.get(),
        wanted.get(),
        HistoryOrder::MIN.get()
    )
    .fetch_one(&mut *db)
    .await?;
    let Some(highest) = highest.map(HistoryOrder) else {
        return Ok(None);
    };
    let next = sqlx::query_scalar!(
        "SELECT max(history_order) FROM events WHERE room_nid = $1 AND history_order < $2",
        room_nid.get(),
        highest.get()
    )
    .fetch_one(db)
    .await?;
    let lowest = next.map_or(HistoryOrder(HistoryOrder::MIN.0 + 1), |next| {
        HistoryOrder(next + 1)
    });
    Ok(Some(FreePlaces { highest, lowest }))
}

/// How many events stand between two places of a room's history, but no more than `most`.
pub async fn count_between(
    db: &mut Connection,
    room_nid: RoomNid,
    (after, until): (HistoryOrder, HistoryOrder),
    most: i64,
) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
            SELECT FROM events WHERE room_nid = $1 AND history_order > $2 AND history_order <= $3 LIMIT $4) e"#,
        room_nid.get(),
        after.get(),
        until.get(),
        most
    )
    .fetch_one(db)
    .await?;
    Ok(count)
}

/// The accepted events of a room's history next to a time, by their `origin_server_ts`: those at or
/// after it forward, those at or before it backward; the nearest `limit` of them, the nearest first.
#[tracing::instrument(name = "storage.events.at_time", level = "debug", skip_all)]
pub async fn at_time(
    db: &mut Connection,
    room_nid: RoomNid,
    ts: i64,
    direction: Direction,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    let nids = match direction {
        Direction::Forward => {
            sqlx::query_scalar!(
                "SELECT event_nid FROM events
                 WHERE room_nid = $1 AND history_order IS NOT NULL AND verdict = 0 AND origin_server_ts >= $2
                 ORDER BY origin_server_ts, history_order LIMIT $3",
                room_nid.get(),
                ts,
                limit
            )
            .fetch_all(&mut *db)
            .await?
        }
        Direction::Backward => {
            sqlx::query_scalar!(
                "SELECT event_nid FROM events
                 WHERE room_nid = $1 AND history_order IS NOT NULL AND verdict = 0 AND origin_server_ts <= $2
                 ORDER BY origin_server_ts DESC, history_order DESC LIMIT $3",
                room_nid.get(),
                ts,
                limit
            )
            .fetch_all(&mut *db)
            .await?
        }
    };
    let nids: Vec<EventNid> = nids.into_iter().map(EventNid).collect();
    let mut found = by_nids(db, &nids).await?;
    let place = |event: &StoredEvent| nids.iter().position(|nid| *nid == event.nid);
    found.sort_by_key(place);
    Ok(found)
}
