//! The graph of events: parents and children.

use std::collections::HashMap;

use ruma::OwnedEventId;
use types::{EventNid, HistoryOrder, RoomNid};

use crate::{Connection, Error, rows::id};

/// The children of events that are known, as pairs of parent and child, in no order.
pub async fn children(
    db: &mut Connection,
    parents: &[EventNid],
) -> Result<Vec<(EventNid, EventNid)>, Error> {
    let parents: Vec<i64> = parents.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT prev_nid AS "prev_nid!", event_nid FROM event_edges WHERE prev_nid = ANY($1)"#,
        &parents
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (EventNid(row.prev_nid), EventNid(row.event_nid)))
        .collect())
}

/// A place where the known history of a room ends: an event that names a parent which is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The event.
    pub child: EventNid,
    /// Its place.
    pub order: HistoryOrder,
    /// Its depth, as its server says.
    pub depth: u64,
    /// The parent.
    pub parent: OwnedEventId,
}

/// Where the known history of a room ends at or before a place: the latest `limit` of these places,
/// the latest first.
#[tracing::instrument(name = "storage.event_edges.gaps", level = "debug", skip_all)]
pub async fn gaps(
    db: &mut Connection,
    room_nid: RoomNid,
    until: HistoryOrder,
    limit: i64,
) -> Result<Vec<Gap>, Error> {
    let rows = sqlx::query!(
        r#"SELECT d.event_nid, d.prev_event_id AS "prev_event_id!", e.history_order AS "history_order!", e.depth
         FROM event_edges d JOIN events e ON e.event_nid = d.event_nid
         WHERE d.gap_room_nid = $1 AND e.history_order <= $2
         ORDER BY e.history_order DESC, d.prev_event_id LIMIT $3"#,
        room_nid.get(),
        until.get(),
        limit
    )
    .fetch_all(db)
    .await?;
    let gaps = rows.into_iter().map(|row| {
        Ok(Gap {
            child: EventNid(row.event_nid),
            order: HistoryOrder(row.history_order),
            depth: u64::try_from(row.depth).unwrap_or_default(),
            parent: id(row.prev_event_id)?,
        })
    });
    gaps.collect()
}

/// The places of the events in a room's history that name some events, which are not part of it, as
/// their parents: pairs of the parent and the child's place.
pub async fn places_of_children(
    db: &mut Connection,
    room_nid: RoomNid,
    parents: &[OwnedEventId],
) -> Result<Vec<(OwnedEventId, HistoryOrder)>, Error> {
    let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        r#"SELECT d.prev_event_id AS "prev_event_id!", e.history_order AS "history_order!"
         FROM event_edges d JOIN events e ON e.event_nid = d.event_nid
         WHERE d.prev_event_id = ANY($1) AND d.gap_room_nid = $2 AND e.history_order IS NOT NULL"#,
        &parents,
        room_nid.get()
    )
    .fetch_all(db)
    .await?;
    let places = rows.into_iter();
    places
        .map(|row| Ok((id(row.prev_event_id)?, HistoryOrder(row.history_order))))
        .collect()
}

/// Those of the events, which are not known yet, that an accepted event names as its parent.
pub async fn with_accepted_children(
    db: &mut Connection,
    room_nid: RoomNid,
    event_ids: &[OwnedEventId],
) -> Result<Vec<OwnedEventId>, Error> {
    let event_ids: Vec<String> = event_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_scalar!(
        r#"SELECT DISTINCT d.prev_event_id AS "prev_event_id!" FROM event_edges d
         JOIN events e ON e.event_nid = d.event_nid
         WHERE d.prev_event_id = ANY($1) AND e.room_nid = $2 AND e.verdict = 0"#,
        &event_ids,
        room_nid.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(id).collect()
}

/// The parents of events and, as long as these are soft-failed or rejected, their parents.
pub async fn ancestors_past_refused(
    db: &mut Connection,
    events: &[EventNid],
) -> Result<Vec<EventNid>, Error> {
    let events: Vec<i64> = events.iter().map(|nid| nid.get()).collect();
    // Walks on only through events that are not accepted; there are few of them in a row.
    let rows = sqlx::query_scalar!(
        r#"WITH RECURSIVE passed AS (
            SELECT e.event_nid FROM events e WHERE e.event_nid = ANY($1) AND e.verdict <> 0
            UNION
            SELECT p.event_nid FROM passed c
            JOIN event_edges d ON d.event_nid = c.event_nid
            JOIN events p ON p.event_nid = d.prev_nid AND p.verdict <> 0
        )
        SELECT DISTINCT d.prev_nid AS "prev_nid!" FROM passed c
        JOIN event_edges d ON d.event_nid = c.event_nid WHERE d.prev_nid IS NOT NULL"#,
        &events
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(EventNid).collect())
}

/// The auth chains of events, themselves included: each event with those that it names.
pub async fn auth_edges(
    db: &mut Connection,
    events: &[EventNid],
) -> Result<HashMap<EventNid, Vec<EventNid>>, Error> {
    let events: Vec<i64> = events.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"WITH RECURSIVE chain AS (
            SELECT e.event_nid, e.auth_nids FROM events e WHERE e.event_nid = ANY($1)
            UNION
            SELECT e.event_nid, e.auth_nids FROM chain c
            CROSS JOIN UNNEST(c.auth_nids) AS named (event_nid)
            JOIN events e ON e.event_nid = named.event_nid
        )
        SELECT event_nid AS "event_nid!", auth_nids AS "auth_nids!" FROM chain"#,
        &events
    )
    .fetch_all(db)
    .await?;
    let edges = rows.into_iter().map(|row| {
        let named = row.auth_nids.into_iter().map(EventNid).collect();
        (EventNid(row.event_nid), named)
    });
    Ok(edges.collect())
}
