//! What lists of rooms are sorted and filtered by.

use serde::Deserialize;
use types::{HistoryOrder, RoomNid, StreamPosition};

use crate::{Connection, Error};

/// What a list of rooms says of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomOverview {
    /// When its last event came; 0 if none is known.
    pub last_event: StreamPosition,
    /// Whether it has the state `m.room.encryption`.
    pub is_encrypted: bool,
    /// The `type` of its create event.
    pub room_type: Option<String>,
}

#[derive(Deserialize)]
struct Create {
    content: CreateContent,
}

#[derive(Deserialize)]
struct CreateContent {
    #[serde(rename = "type")]
    room_type: Option<String>,
}

/// The `type` in the text of a create event, or in its content as such.
pub fn room_type(create: &str) -> Option<String> {
    let create: Create = serde_json::from_str(create).ok()?;
    create.content.room_type
}

/// The overviews of rooms; one statement.
#[tracing::instrument(name = "storage.room_overviews.read", level = "debug", skip_all)]
pub async fn read(
    db: &mut Connection,
    room_nids: &[RoomNid],
) -> Result<Vec<(RoomNid, RoomOverview)>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    // Three index look-ups for each room.
    let rows = sqlx::query!(
        r#"SELECT w.room_nid AS "room_nid!",
            (SELECT e.history_order FROM events e
             WHERE e.room_nid = w.room_nid AND e.history_order IS NOT NULL AND e.position IS NOT NULL
                AND e.verdict = 0
             ORDER BY e.history_order DESC LIMIT 1) AS history_order,
            EXISTS (SELECT FROM current_state c
             WHERE c.room_nid = w.room_nid AND c.event_type = 'm.room.encryption' AND c.state_key = '')
                AS "is_encrypted!",
            (SELECT e.json FROM current_state c JOIN events e ON e.event_nid = c.event_nid
             WHERE c.room_nid = w.room_nid AND c.event_type = 'm.room.create' AND c.state_key = '') AS "create_event?"
         FROM UNNEST($1::bigint[]) AS w (room_nid)"#,
        &room_nids
    )
    .fetch_all(db)
    .await?;
    let overviews = rows.into_iter().map(|row| {
        let last_event = row
            .history_order
            .map(|order| HistoryOrder(order).position());
        let overview = RoomOverview {
            last_event: last_event.unwrap_or_default(),
            is_encrypted: row.is_encrypted,
            room_type: row.create_event.as_deref().and_then(room_type),
        };
        (RoomNid(row.room_nid), overview)
    });
    Ok(overviews.collect())
}

/// The position of the last event of one of the types in each room, among its last `most` events;
/// rooms without one are left out. One statement.
#[tracing::instrument(
    name = "storage.room_overviews.last_of_types",
    level = "debug",
    skip_all
)]
pub async fn last_of_types(
    db: &mut Connection,
    room_nids: &[RoomNid],
    event_types: &[&str],
    most: i64,
) -> Result<Vec<(RoomNid, StreamPosition)>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let event_types: Vec<String> = event_types.iter().map(|name| (*name).to_owned()).collect();
    let rows = sqlx::query!(
        r#"SELECT w.room_nid AS "room_nid!", l.position AS "position!"
         FROM UNNEST($1::bigint[]) AS w (room_nid),
         LATERAL (
            SELECT max(e.position) AS position FROM (
                SELECT i.position, i.event_type FROM events i
                WHERE i.room_nid = w.room_nid AND i.history_order IS NOT NULL AND i.position IS NOT NULL
                    AND i.verdict = 0
                ORDER BY i.history_order DESC LIMIT $3) e
            WHERE e.event_type = ANY($2)
         ) l
         WHERE l.position IS NOT NULL"#,
        &room_nids,
        &event_types,
        most
    )
    .fetch_all(db)
    .await?;
    let positions = rows
        .into_iter()
        .map(|row| (RoomNid(row.room_nid), StreamPosition(row.position)));
    Ok(positions.collect())
}
