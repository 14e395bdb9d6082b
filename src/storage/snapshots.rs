//! The state of rooms at points in the past.

use types::{EventNid, SnapshotNid};

use crate::{Connection, Error};

/// The state events that make up a snapshot, in no order.
pub async fn events(db: &mut Connection, snapshot: SnapshotNid) -> Result<Vec<EventNid>, Error> {
    // Walks down the parents (their number is bounded) and keeps the topmost event of each key.
    let nids = sqlx::query_scalar!(
        r#"WITH RECURSIVE chain AS (
            SELECT parent_nid, event_nids, 0 AS height FROM snapshots WHERE snapshot_nid = $1
            UNION ALL
            SELECT s.parent_nid, s.event_nids, c.height + 1
            FROM chain c JOIN snapshots s ON s.snapshot_nid = c.parent_nid
        )
        SELECT DISTINCT ON (e.event_type, e.state_key) e.event_nid
        FROM chain c, UNNEST(c.event_nids) AS n (event_nid)
        JOIN events e ON e.event_nid = n.event_nid
        ORDER BY e.event_type, e.state_key, c.height"#,
        snapshot.get()
    )
    .fetch_all(db)
    .await?;
    Ok(nids.into_iter().map(EventNid).collect())
}

/// The event of one state key in a snapshot.
pub async fn event(
    db: &mut Connection,
    snapshot: SnapshotNid,
    event_type: &str,
    state_key: &str,
) -> Result<Option<EventNid>, Error> {
    let nid = sqlx::query_scalar!(
        r#"WITH RECURSIVE chain AS (
            SELECT parent_nid, event_nids, 0 AS height FROM snapshots WHERE snapshot_nid = $1
            UNION ALL
            SELECT s.parent_nid, s.event_nids, c.height + 1
            FROM chain c JOIN snapshots s ON s.snapshot_nid = c.parent_nid
        )
        SELECT e.event_nid
        FROM chain c, UNNEST(c.event_nids) AS n (event_nid)
        JOIN events e ON e.event_nid = n.event_nid
        WHERE e.event_type = $2 AND e.state_key = $3
        ORDER BY c.height LIMIT 1"#,
        snapshot.get(),
        event_type,
        state_key
    )
    .fetch_optional(db)
    .await?;
    Ok(nid.map(EventNid))
}

/// A snapshot and those that it builds on, the topmost first, each with its own events.
pub async fn chain(
    db: &mut Connection,
    snapshot: SnapshotNid,
) -> Result<Vec<(SnapshotNid, Vec<EventNid>)>, Error> {
    let rows = sqlx::query!(
        r#"WITH RECURSIVE chain AS (
            SELECT snapshot_nid, parent_nid, event_nids, 0 AS height FROM snapshots WHERE snapshot_nid = $1
            UNION ALL
            SELECT s.snapshot_nid, s.parent_nid, s.event_nids, c.height + 1
            FROM chain c JOIN snapshots s ON s.snapshot_nid = c.parent_nid
        )
        SELECT snapshot_nid AS "snapshot_nid!", event_nids AS "event_nids!" FROM chain ORDER BY height"#,
        snapshot.get()
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (
                SnapshotNid(row.snapshot_nid),
                row.event_nids.into_iter().map(EventNid).collect(),
            )
        })
        .collect())
}
