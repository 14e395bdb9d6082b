//! The events that relate to others, as far as aggregations need them.

use ruma::{OwnedEventId, OwnedUserId};
use types::{EventNid, HistoryOrder, SnapshotNid};

use crate::{Connection, Error, escape::unescape, rows::id};

/// An event that relates to another one, without its content.
#[derive(Clone, Debug)]
pub struct ChildEvent {
    /// The event that it relates to.
    pub target: EventNid,
    /// How: `m.thread`, `m.replace` or `m.reference`.
    pub rel_type: String,
    /// Its number.
    pub nid: EventNid,
    /// Its id.
    pub event_id: OwnedEventId,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// Its type.
    pub event_type: String,
    /// When it was sent, in milliseconds since the epoch.
    pub origin_server_ts: i64,
    /// Its place in the room's history.
    pub order: HistoryOrder,
    /// The state after it.
    pub snapshot_nid: Option<SnapshotNid>,
}

/// The accepted events that relate to each of some events by a thread, as an edit or as a reference: of
/// each the newest `limit`, newest first.
#[tracing::instrument(name = "storage.events.children", level = "debug", skip_all)]
pub async fn children(
    db: &mut Connection,
    targets: &[EventNid],
    limit: i64,
) -> Result<Vec<ChildEvent>, Error> {
    let targets: Vec<i64> = targets.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT t.event_nid AS target_nid, c.rel_type AS "rel_type!", c.history_order AS "history_order!",
            c.event_nid AS "event_nid!", c.event_id AS "event_id!", c.sender AS "sender!", c.event_type AS "event_type!",
            c.origin_server_ts AS "origin_server_ts!", c.snapshot_nid AS "snapshot_nid?"
         FROM events t
         CROSS JOIN LATERAL (
            SELECT l.rel_type, l.history_order, e.event_nid, e.event_id, e.sender, e.event_type, e.origin_server_ts, e.snapshot_nid
            FROM relations l JOIN events e ON e.event_nid = l.event_nid
            WHERE l.room_nid = t.room_nid AND l.target_id = t.event_id
                AND l.rel_type IN ('m.thread', 'm.replace', 'm.reference')
                AND e.verdict = 0 AND e.redacted_by_nid IS NULL
            ORDER BY l.history_order DESC LIMIT $2
         ) c
         WHERE t.event_nid = ANY($1)
         ORDER BY t.event_nid, c.history_order DESC"#,
        &targets,
        limit
    )
    .fetch_all(db)
    .await?;
    let children = rows.into_iter().map(|row| {
        Ok(ChildEvent {
            target: EventNid(row.target_nid),
            rel_type: row.rel_type,
            nid: EventNid(row.event_nid),
            event_id: id(row.event_id)?,
            sender: id(unescape(row.sender))?,
            event_type: unescape(row.event_type),
            origin_server_ts: row.origin_server_ts,
            order: HistoryOrder(row.history_order),
            snapshot_nid: row.snapshot_nid.map(SnapshotNid),
        })
    });
    children.collect()
}
