//! How the current state of rooms came about.

use std::collections::{BTreeMap, HashMap};

use types::{EventNid, RoomNid, StateKeyNid, StreamPosition};

use crate::{
    Connection, Error,
    events::{self, Span, columns},
    stream::{StateChange, StateDelta, StateEvent},
};

#[expect(clippy::struct_field_names, reason = "the columns' names")]
struct Row {
    room_nid: i64,
    state_key_nid: i64,
    event_nid: Option<i64>,
    previous_nid: Option<i64>,
}

struct DeltaRow {
    room_nid: i64,
    position: i64,
    state_key_nid: i64,
    event_nid: Option<i64>,
    previous_nid: Option<i64>,
}

impl DeltaRow {
    fn into_change(self) -> Row {
        Row {
            room_nid: self.room_nid,
            state_key_nid: self.state_key_nid,
            event_nid: self.event_nid,
            previous_nid: self.previous_nid,
        }
    }
}

/// The deltas after `from`, up to and including `to`, in order.
pub(crate) async fn between(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
) -> Result<Vec<(StreamPosition, StateDelta)>, Error> {
    let rows = sqlx::query_as!(
        DeltaRow,
        "SELECT room_nid, position, state_key_nid, event_nid, previous_nid FROM state_deltas
         WHERE position > $1 AND position <= $2 ORDER BY position",
        from.get(),
        to.get()
    )
    .fetch_all(&mut *db)
    .await?;
    deltas(db, rows).await
}

/// The deltas of each span, in order. The spans are of different rooms.
#[tracing::instrument(name = "storage.state_deltas.each", level = "debug", skip_all)]
pub async fn each(
    db: &mut Connection,
    spans: &[Span],
) -> Result<Vec<(StreamPosition, StateDelta)>, Error> {
    let (room_nids, after, until) = columns(spans);
    let rows = sqlx::query_as!(
        DeltaRow,
        "SELECT d.room_nid, d.position, d.state_key_nid, d.event_nid, d.previous_nid
         FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS w (room_nid, after, until)
         JOIN state_deltas d ON d.room_nid = w.room_nid AND d.position > w.after AND d.position <= w.until
         ORDER BY d.position",
        &room_nids,
        &after,
        &until
    )
    .fetch_all(&mut *db)
    .await?;
    deltas(db, rows).await
}

/// Gathers the changes of each position.
async fn deltas(
    db: &mut Connection,
    rows: Vec<DeltaRow>,
) -> Result<Vec<(StreamPosition, StateDelta)>, Error> {
    let positions: Vec<_> = rows
        .iter()
        .map(|row| StreamPosition(row.position))
        .collect();
    let rows = rows.into_iter().map(DeltaRow::into_change).collect();
    let mut deltas: BTreeMap<StreamPosition, StateDelta> = BTreeMap::new();
    let changes = positions.into_iter().zip(changes(db, rows).await?);
    for (position, (room_nid, change)) in changes {
        let delta = deltas.entry(position).or_insert_with(|| StateDelta {
            room_nid,
            changes: Vec::new(),
        });
        delta.changes.push(change);
    }
    Ok(deltas.into_iter().collect())
}

/// What changed in each span, all taken together: from what each key was before the span to what
/// it was after it. The spans are of different rooms.
#[tracing::instrument(name = "storage.state_deltas.net_changes", level = "debug", skip_all)]
pub async fn net_changes(
    db: &mut Connection,
    spans: &[Span],
) -> Result<HashMap<RoomNid, Vec<StateChange>>, Error> {
    let (room_nids, after, until) = columns(spans);
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT d.room_nid AS "room_nid!", d.state_key_nid AS "state_key_nid!",
            (array_agg(d.event_nid ORDER BY d.position DESC))[1] AS event_nid,
            (array_agg(d.previous_nid ORDER BY d.position))[1] AS previous_nid
         FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS w (room_nid, after, until)
         JOIN state_deltas d ON d.room_nid = w.room_nid AND d.position > w.after AND d.position <= w.until
         GROUP BY d.room_nid, d.state_key_nid"#,
        &room_nids,
        &after,
        &until
    )
    .fetch_all(&mut *db)
    .await?;
    let mut rooms: HashMap<RoomNid, Vec<StateChange>> = HashMap::new();
    for (room_nid, change) in changes(db, rows).await? {
        rooms.entry(room_nid).or_default().push(change);
    }
    Ok(rooms)
}

/// Reads the events of changes: one query for all.
async fn changes(
    db: &mut Connection,
    rows: Vec<Row>,
) -> Result<Vec<(RoomNid, StateChange)>, Error> {
    let nids: Vec<EventNid> = rows
        .iter()
        .flat_map(|row| [row.event_nid, row.previous_nid])
        .flatten()
        .map(EventNid)
        .collect();
    if nids.is_empty() {
        return Ok(Vec::new());
    }
    let events = events::state_events(db, &nids).await?;
    let event = |nid: Option<i64>| -> Option<StateEvent> { events.get(&EventNid(nid?)).cloned() };
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| {
            let change = StateChange {
                key: StateKeyNid(row.state_key_nid),
                from: event(row.previous_nid),
                to: event(row.event_nid),
            };
            (RoomNid(row.room_nid), change)
        })
        .collect())
}
