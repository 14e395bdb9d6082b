//! Events that a user may not have read.

use std::collections::HashMap;

use event::{Pdu, Relation};
use futures::TryStreamExt;
use ruma::OwnedEventId;
use types::{HistoryOrder, RoomNid};

use crate::{Connection, Error, rows::id};

/// Selects the events of a room that a user may not have read.
#[derive(Clone, Copy, Debug)]
pub struct UnreadQuery {
    /// The room.
    pub room_nid: RoomNid,
    /// Nothing up to here is unread.
    pub after: HistoryOrder,
    /// Up to here only what is in threads may be unread; not before `after`.
    pub after_main: HistoryOrder,
}

/// An event that a user may not have read.
#[derive(Debug)]
pub struct UnreadEvent {
    /// Its room.
    pub room_nid: RoomNid,
    /// Its place in the room's history.
    pub order: HistoryOrder,
    /// The event.
    pub pdu: Pdu,
    /// Whether it was redacted.
    pub is_redacted: bool,
}

/// Visits the possibly unread events of each room: the newest `limit` of the main timeline and of
/// threads, in one streamed query.
#[tracing::instrument(name = "storage.events.unread", level = "debug", skip_all)]
pub async fn unread(
    db: &mut Connection,
    wanted: &[UnreadQuery],
    limit: i64,
    mut visit: impl FnMut(UnreadEvent),
) -> Result<(), Error> {
    let column =
        |value: fn(&UnreadQuery) -> i64| -> Vec<i64> { wanted.iter().map(value).collect() };
    let mut rows = sqlx::query!(
        r#"SELECT w.room_nid AS "room_nid!", r.room_id, e.event_id AS "event_id!", e.history_order AS "history_order!",
            e.json AS "json!", e.is_redacted AS "is_redacted!"
         FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS w (room_nid, after, after_main)
         JOIN rooms r ON r.room_nid = w.room_nid
         CROSS JOIN LATERAL (
            (SELECT event_id, history_order, json, redacted_by_nid IS NOT NULL AS is_redacted FROM events
             WHERE room_nid = w.room_nid AND history_order > w.after_main AND verdict = 0
             ORDER BY history_order DESC LIMIT $4)
            UNION ALL
            (SELECT t.event_id, t.history_order, t.json, t.redacted_by_nid IS NOT NULL
             FROM relations l JOIN events t ON t.event_nid = l.event_nid
             WHERE l.room_nid = w.room_nid AND l.rel_type = 'm.thread'
                AND l.history_order > w.after AND l.history_order <= w.after_main AND t.verdict = 0
             ORDER BY l.history_order DESC LIMIT $4)
         ) e"#,
        &column(|unread| unread.room_nid.get()),
        &column(|unread| unread.after.get()),
        &column(|unread| unread.after_main.get()),
        limit
    )
    .fetch(db);
    while let Some(row) = rows.try_next().await? {
        visit(UnreadEvent {
            room_nid: RoomNid(row.room_nid),
            order: HistoryOrder(row.history_order),
            pdu: pdu(row.event_id, row.room_id, row.json)?,
            is_redacted: row.is_redacted,
        });
    }
    Ok(())
}

/// What each of the events, named by room and id, relates to; those that are not known here are
/// left out.
pub async fn relations_of(
    db: &mut Connection,
    events: &[(RoomNid, OwnedEventId)],
) -> Result<HashMap<OwnedEventId, Option<Relation>>, Error> {
    let (room_nids, event_ids): (Vec<i64>, Vec<String>) = events
        .iter()
        .map(|(room_nid, event_id)| (room_nid.get(), event_id.to_string()))
        .unzip();
    let rows = sqlx::query!(
        "SELECT e.event_id, r.room_id, e.json
         FROM UNNEST($1::bigint[], $2::text[]) AS w (room_nid, event_id)
         JOIN events e ON e.event_id = w.event_id AND e.room_nid = w.room_nid
         JOIN rooms r ON r.room_nid = e.room_nid",
        &room_nids,
        &event_ids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let pdu = pdu(row.event_id, row.room_id, row.json)?;
            Ok((pdu.event_id().clone(), pdu.relation()))
        })
        .collect()
}

fn pdu(event_id: String, room_id: String, json: String) -> Result<Pdu, Error> {
    Pdu::from_stored(id(event_id)?, id(room_id)?, json.into_boxed_str())
        .map_err(|error| Error::Corrupt(error.to_string()))
}
