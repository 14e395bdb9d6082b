//! Events of states, and what keys of the state were in the course of time.

use types::{EventNid, RoomNid, SnapshotNid};

use super::{Row, StoredEvent, by_nids, collect};
use crate::{Connection, Error, escape::escape};

/// The state events of each snapshot, in no order; the snapshots are of different rooms.
#[tracing::instrument(name = "storage.events.state_of", level = "debug", skip_all)]
pub async fn state_of(
    db: &mut Connection,
    snapshots: &[SnapshotNid],
) -> Result<Vec<StoredEvent>, Error> {
    let stored = crate::snapshots::read(db, snapshots).await?;
    let nids: Vec<EventNid> = stored
        .values()
        .flat_map(|stored| stored.state.values().copied())
        .collect();
    by_nids(db, &nids).await
}

/// The current state of each room, in no order.
#[tracing::instrument(name = "storage.events.current_state", level = "debug", skip_all)]
pub async fn current_state(
    db: &mut Connection,
    room_nids: &[RoomNid],
) -> Result<Vec<StoredEvent>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let rows = select_events!(
        "JOIN current_state c ON c.event_nid = e.event_nid WHERE c.room_nid = ANY($1)",
        &room_nids
    );
    collect(rows.fetch_all(db).await?)
}

/// The accepted events of one state key in each room, oldest first, of all branches of the history.
///
/// What was current when this server came to know the room has no place in the history and stands
/// first.
#[tracing::instrument(name = "storage.events.state_history", level = "debug", skip_all)]
pub async fn state_history(
    db: &mut Connection,
    room_nids: &[RoomNid],
    event_type: &str,
    state_key: &str,
) -> Result<Vec<StoredEvent>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let rows = select_events!(
        "WHERE e.room_nid = ANY($1) AND e.event_type = $2 AND e.state_key = $3 AND e.verdict = 0
            AND (e.history_order IS NOT NULL OR EXISTS (
                SELECT FROM current_state c
                WHERE c.room_nid = e.room_nid AND c.event_type = e.event_type AND c.state_key = e.state_key
                    AND c.event_nid = e.event_nid))
         ORDER BY e.room_nid, e.history_order NULLS FIRST",
        &room_nids,
        &*escape(event_type),
        &*escape(state_key)
    );
    collect(rows.fetch_all(db).await?)
}

/// What one state key was in the current state of each room, oldest first. The order of each event is
/// the one from which it holds.
///
/// With the user's membership and the history visibility this answers what the user may see. An
/// accepted event that lost state resolution is not among them; one that won later, or again, holds
/// from then on. What was current when this server came to know the room has no order and stands
/// first; of what was before that, and came later, each event counts.
#[tracing::instrument(
    name = "storage.events.current_state_history",
    level = "debug",
    skip_all
)]
pub async fn current_state_history(
    db: &mut Connection,
    room_nids: &[RoomNid],
    event_type: &str,
    state_key: &str,
) -> Result<Vec<StoredEvent>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    // A delta has the position after the event that caused it. An order is a position, shifted
    // (`types::HistoryOrder`).
    let rows = select_events!(
        ordered by r#"h.since AS "history_order?""#,
        "JOIN (
            SELECT i.event_nid, i.history_order AS since FROM events i
            WHERE i.room_nid = ANY($1) AND i.event_type = $2 AND i.state_key = $3 AND i.verdict = 0
                AND i.history_order IS NOT NULL
                AND (i.position IS NULL OR EXISTS (
                    SELECT FROM state_deltas d
                    WHERE d.room_nid = i.room_nid AND d.position = i.position + 1 AND d.event_nid = i.event_nid))
            UNION ALL
            SELECT d.event_nid,
                CASE WHEN d.previous_nid IS NULL AND i.history_order IS NULL THEN NULL
                    ELSE (d.position - 1) << 20 END
            FROM state_keys k
            JOIN state_deltas d ON d.state_key_nid = k.state_key_nid AND d.room_nid = ANY($1)
            JOIN events i ON i.event_nid = d.event_nid
            WHERE k.event_type = $2 AND k.state_key = $3 AND i.position IS DISTINCT FROM d.position - 1
        ) h ON h.event_nid = e.event_nid
        ORDER BY e.room_nid, h.since NULLS FIRST",
        &room_nids,
        &*escape(event_type),
        &*escape(state_key)
    );
    collect(rows.fetch_all(db).await?)
}

/// The current state events of some types in each room, in no order.
pub async fn current_state_of(
    db: &mut Connection,
    room_nids: &[RoomNid],
    event_types: &[&str],
) -> Result<Vec<StoredEvent>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let event_types: Vec<String> = event_types
        .iter()
        .map(|event_type| escape(event_type).into_owned())
        .collect();
    let rows = select_events!(
        "JOIN current_state c ON c.event_nid = e.event_nid
         WHERE c.room_nid = ANY($1) AND c.event_type = ANY($2)",
        &room_nids,
        &event_types
    );
    collect(rows.fetch_all(db).await?)
}
