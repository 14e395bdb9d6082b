//! Events as stored, and the queries that find them.

use std::{collections::HashMap, sync::Arc};

use event::{Pdu, Verdict};
use ruma::{EventId, OwnedDeviceId, OwnedEventId};
use types::{EventNid, HistoryOrder, RoomNid, SnapshotNid, StreamPosition};

use crate::{
    Connection, Error,
    rows::{self, id},
    stream::{Redacted, StateEvent},
};

pub(crate) fn verdict_number(verdict: Verdict) -> i16 {
    match verdict {
        Verdict::Accepted => 0,
        Verdict::SoftFailed => 1,
        Verdict::Rejected => 2,
    }
}

pub(crate) fn verdict(number: i16) -> Result<Verdict, Error> {
    match number {
        0 => Ok(Verdict::Accepted),
        1 => Ok(Verdict::SoftFailed),
        2 => Ok(Verdict::Rejected),
        _ => Err(Error::Corrupt(format!("verdict {number}"))),
    }
}

/// The client transaction that sent an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The device; none for application services that name none. The user is the event's sender.
    pub device_id: Option<OwnedDeviceId>,
    /// What `/redact` was asked to redact; none if the event was sent like any other.
    pub target: Option<OwnedEventId>,
    /// The client's transaction id.
    pub id: String,
}

/// The type of the events that two endpoints send, one of which has transactions of each target.
const REDACTION: &str = "m.room.redaction";

impl Transaction {
    /// The key that identifies the transaction among those of its user, device, room and event type.
    ///
    /// Spec: client-server, "Transaction identifiers": they are scoped to the endpoint's path.
    pub fn key(&self, event_type: &str) -> String {
        if event_type != REDACTION {
            return self.id.clone();
        }
        // No event id has a space in it.
        let target = self.target.as_ref().map_or("", |target| target.as_str());
        format!("{target} {}", self.id)
    }

    /// The device as the column holds it: empty without a device, which no id of a device is, so
    /// that the primary key covers these transactions, too.
    pub(crate) fn device_column(&self) -> String {
        self.device_id
            .as_deref()
            .map_or_else(String::new, ToString::to_string)
    }

    /// Parses a [`device_column`](Self::device_column) and a [`key`](Self::key).
    fn from_columns(device: String, key: String, event_type: &str) -> Result<Self, Error> {
        let (target, id) = match key.split_once(' ').filter(|_| event_type == REDACTION) {
            Some((target, id)) => (target, id.to_owned()),
            None => ("", key),
        };
        let target = (!target.is_empty()).then(|| rows::id(target.to_owned()));
        Ok(Self {
            device_id: (!device.is_empty()).then(|| device.into()),
            target: target.transpose()?,
            id,
        })
    }
}

/// The state event that another one replaced.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// Its number.
    pub nid: EventNid,
    /// The event.
    pub pdu: Arc<Pdu>,
}

/// An event with what the server knows about it.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its number.
    pub nid: EventNid,
    /// Its room.
    pub room_nid: RoomNid,
    /// Its place in the stream; none until it is committed, or when it is not returned by
    /// `/sync`.
    pub position: Option<StreamPosition>,
    /// Its place in the room's history; none until it is committed, or when it is an outlier.
    pub history_order: Option<HistoryOrder>,
    /// The event itself, with what the rules said of it; redacted if it was redacted.
    pub pdu: Arc<Pdu>,
    /// The state after it; none for an outlier.
    pub snapshot_nid: Option<SnapshotNid>,
    /// For a state event: the event of its state key in the state before it, in its own branch.
    pub replaces: Option<Replaced>,
    /// The event that redacted it.
    pub redacted_because: Option<Arc<Pdu>>,
    /// The numbers of the events that authorise it.
    pub auth_nids: Vec<EventNid>,
    /// Whether events that it follows were not known when it came: what is before it in the stream
    /// need not be before it in the room.
    pub after_gap: bool,
    /// Whether there may be events in a thread that it is the root of, edits of it or references to it.
    pub has_relations: bool,
    /// The client transaction that sent it.
    pub transaction: Option<Transaction>,
}

impl StoredEvent {
    /// Whether the event is part of its room.
    pub fn is_accepted(&self) -> bool {
        self.pdu.verdict() == Verdict::Accepted
    }

    /// Gives the event, now committed, its place at the end of the timeline.
    pub(crate) fn append_at(&mut self, position: StreamPosition) {
        self.position = Some(position);
        self.history_order = Some(HistoryOrder::of(position));
    }
}

/// Which way a history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From older to newer.
    Forward,
    /// From newer to older.
    Backward,
}

struct Row {
    event_nid: i64,
    room_nid: i64,
    room_id: String,
    event_id: String,
    position: Option<i64>,
    history_order: Option<i64>,
    verdict: i16,
    snapshot_nid: Option<i64>,
    auth_nids: Vec<i64>,
    after_gap: bool,
    has_relations: bool,
    transaction_device: Option<String>,
    transaction_id: Option<String>,
    json: String,
    replaces_nid: Option<i64>,
    replaces_id: Option<String>,
    replaces_json: Option<String>,
    redaction_id: Option<String>,
    redaction_json: Option<String>,
}

impl Row {
    fn into_event(self) -> Result<StoredEvent, Error> {
        let room_id: ruma::OwnedRoomId = id(self.room_id)?;
        let pdu = |event_id: String, json: String, verdict: Verdict| {
            Pdu::from_stored(id(event_id)?, room_id.clone(), json.into_boxed_str())
                .map(|pdu| Arc::new(pdu.with_verdict(verdict)))
                .map_err(|error| Error::Corrupt(error.to_string()))
        };
        let replaces = match (self.replaces_nid, self.replaces_id, self.replaces_json) {
            (Some(nid), Some(event_id), Some(json)) => Some(Replaced {
                nid: EventNid(nid),
                pdu: pdu(event_id, json, Verdict::Accepted)?,
            }),
            _ => None,
        };
        let redacted_because = match (self.redaction_id, self.redaction_json) {
            (Some(event_id), Some(json)) => Some(pdu(event_id, json, Verdict::Accepted)?),
            _ => None,
        };
        let event = pdu(self.event_id, self.json, verdict(self.verdict)?)?;
        let transaction = self
            .transaction_device
            .zip(self.transaction_id)
            .map(|(device, key)| Transaction::from_columns(device, key, event.event_type()))
            .transpose()?;
        Ok(StoredEvent {
            nid: EventNid(self.event_nid),
            room_nid: RoomNid(self.room_nid),
            position: self.position.map(StreamPosition),
            history_order: self.history_order.map(HistoryOrder),
            pdu: event,
            snapshot_nid: self.snapshot_nid.map(SnapshotNid),
            replaces,
            redacted_because,
            auth_nids: self.auth_nids.into_iter().map(EventNid).collect(),
            after_gap: self.after_gap,
            has_relations: self.has_relations,
            transaction,
        })
    }
}

/// Selects whole events; the tail begins with further joins or `WHERE`.
macro_rules! select_events {
    ($tail:literal $(+ $end:literal)? $(, $argument:expr)* $(,)?) => {
        select_events!(ordered by "e.history_order", $tail $(+ $end)? $(, $argument)*)
    };
    // The order need not be the event's own.
    (ordered by $order:literal, $tail:literal $(+ $end:literal)? $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"SELECT e.event_nid AS "event_nid!", e.room_nid AS "room_nid!", r.room_id AS "room_id!",
                e.event_id AS "event_id!", e.position, "# + $order + r#", e.verdict AS "verdict!",
                e.snapshot_nid, e.auth_nids AS "auth_nids!", e.after_gap AS "after_gap!",
                EXISTS (
                    SELECT FROM relations x
                    WHERE x.room_nid = e.room_nid AND x.target_id = e.event_id
                        AND x.rel_type IN ('m.thread', 'm.replace', 'm.reference')
                ) AS "has_relations!",
                t.device_id AS "transaction_device?",
                t.transaction_id AS "transaction_id?", e.json AS "json!", e.replaces_nid,
                p.event_id AS "replaces_id?", p.json AS "replaces_json?",
                b.event_id AS "redaction_id?", b.json AS "redaction_json?"
            FROM events e
            JOIN rooms r ON r.room_nid = e.room_nid
            LEFT JOIN events p ON p.event_nid = e.replaces_nid
            LEFT JOIN events b ON b.event_nid = e.redacted_by_nid
            LEFT JOIN event_transactions t ON t.event_nid = e.event_nid "#
                + $tail $(+ $end)?
            $(, $argument)*
        )
    };
}

/// Fetches whole events in one direction; the tail ends with what orders them, and `$1` is the limit.
macro_rules! fetch_page {
    ($db:expr, $direction:expr, $limit:expr, $tail:literal $(, $argument:expr)* $(,)?) => {
        match $direction {
            Direction::Forward => {
                select_events!($tail + " ASC LIMIT $1", $limit $(, $argument)*).fetch_all($db).await
            }
            Direction::Backward => {
                select_events!($tail + " DESC LIMIT $1", $limit $(, $argument)*).fetch_all($db).await
            }
        }
    };
}

mod children;
pub mod erase;
// After the macros that they use.
mod newest;
mod outliers;
mod places;
mod related;
mod state;
mod unread;

pub use children::{ChildEvent, children};
pub use newest::newest;
pub use outliers::{auth_chain, by_ids, insert_outliers, pending_redactions};
pub use places::{FreePlaces, at_time, count_between, free_places};
pub use related::{MAX_RECURSION_DEPTH, RelationQuery, related};
pub use state::{current_state, current_state_history, current_state_of, state_history, state_of};
pub use unread::{UnreadEvent, UnreadQuery, relations_of, unread};

fn collect(rows: Vec<Row>) -> Result<Vec<StoredEvent>, Error> {
    rows.into_iter().map(Row::into_event).collect()
}

/// One event of a room, whatever its verdict.
pub async fn find(
    db: &mut Connection,
    room_nid: RoomNid,
    event_id: &EventId,
) -> Result<Option<StoredEvent>, Error> {
    let row = select_events!(
        "WHERE e.event_id = $1 AND e.room_nid = $2",
        event_id.as_str(),
        room_nid.get()
    )
    .fetch_optional(db)
    .await?;
    row.map(Row::into_event).transpose()
}

/// Events by number, in no order.
pub async fn by_nids(db: &mut Connection, nids: &[EventNid]) -> Result<Vec<StoredEvent>, Error> {
    let nids: Vec<i64> = nids.iter().map(|nid| nid.get()).collect();
    collect(
        select_events!("WHERE e.event_nid = ANY($1)", &nids)
            .fetch_all(db)
            .await?,
    )
}

/// Events of state by number, without what is known beside them.
pub async fn state_events(
    db: &mut Connection,
    nids: &[EventNid],
) -> Result<HashMap<EventNid, StateEvent>, Error> {
    let nids: Vec<i64> = nids.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        "SELECT e.event_nid, r.room_id, e.event_id, e.verdict, e.json
         FROM events e JOIN rooms r ON r.room_nid = e.room_nid WHERE e.event_nid = ANY($1)",
        &nids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let nid = EventNid(row.event_nid);
            let pdu = Pdu::from_stored(id(row.event_id)?, id(row.room_id)?, row.json.into())
                .map_err(|error| Error::Corrupt(error.to_string()))?;
            let pdu = Arc::new(pdu.with_verdict(verdict(row.verdict)?));
            Ok((nid, StateEvent { nid, pdu }))
        })
        .collect()
}

/// What the redactions, given by their numbers and targets, have left of the events that they
/// redacted; those without an effect are left out.
pub(crate) async fn redacted(
    db: &mut Connection,
    redactions: &[(EventNid, OwnedEventId)],
) -> Result<HashMap<OwnedEventId, Redacted>, Error> {
    let (nids, targets): (Vec<i64>, Vec<String>) = redactions
        .iter()
        .map(|(nid, target)| (nid.get(), target.to_string()))
        .unzip();
    let rows = select_events!(
        "WHERE e.event_id = ANY($1) AND e.redacted_by_nid = ANY($2)",
        &targets,
        &nids
    );
    let found = collect(rows.fetch_all(db).await?)?.into_iter();
    Ok(found
        .filter_map(|event| {
            let redaction = event.redacted_because?.event_id().clone();
            let redacted = Redacted {
                event_nid: event.nid,
                history_order: event.history_order,
                pdu: event.pdu,
            };
            Some((redaction, redacted))
        })
        .collect())
}

/// Forgets the transactions that sent events before a time, in milliseconds since the epoch.
pub async fn delete_expired_transactions(db: &mut Connection, before: i64) -> Result<u64, Error> {
    let deleted = sqlx::query!("DELETE FROM event_transactions WHERE sent_ts < $1", before)
        .execute(db)
        .await?;
    Ok(deleted.rows_affected())
}

/// All timeline events after `from`, up to and including `to`, in order.
pub(crate) async fn between(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
) -> Result<Vec<StoredEvent>, Error> {
    let rows = select_events!(
        "WHERE e.position > $1 AND e.position <= $2 ORDER BY e.position",
        from.get(),
        to.get()
    );
    collect(rows.fetch_all(db).await?)
}

/// Accepted events of a room's history with `after < order <= until`: the first `limit` of them
/// forward, or the last `limit` backward, in the direction's order.
#[tracing::instrument(name = "storage.events.history", level = "debug", skip_all)]
pub async fn history(
    db: &mut Connection,
    room_nid: RoomNid,
    after: HistoryOrder,
    until: HistoryOrder,
    direction: Direction,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    let rows = fetch_page!(
        db,
        direction,
        limit,
        "WHERE e.room_nid = $2 AND e.history_order > $3 AND e.history_order <= $4 AND e.verdict = 0
         ORDER BY e.history_order",
        room_nid.get(),
        after.get(),
        until.get()
    )?;
    collect(rows)
}

/// All events of a room's history from a place on, whatever their verdicts, in order.
#[tracing::instrument(name = "storage.events.all_from", level = "debug", skip_all)]
pub async fn all_from(
    db: &mut Connection,
    room_nid: RoomNid,
    from: HistoryOrder,
) -> Result<Vec<StoredEvent>, Error> {
    let rows = select_events!(
        "WHERE e.room_nid = $1 AND e.history_order >= $2 ORDER BY e.history_order",
        room_nid.get(),
        from.get()
    );
    collect(rows.fetch_all(db).await?)
}

/// The events of each room, in the order given.
pub fn by_room(events: Vec<StoredEvent>) -> HashMap<RoomNid, Vec<StoredEvent>> {
    let mut rooms: HashMap<RoomNid, Vec<_>> = HashMap::new();
    for event in events {
        rooms.entry(event.room_nid).or_default().push(event);
    }
    rooms
}

/// A part of a room's timeline: `after < position <= until`.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The room.
    pub room_nid: RoomNid,
    /// Everything after this.
    pub after: StreamPosition,
    /// Everything up to this.
    pub until: StreamPosition,
}

pub(crate) fn columns(spans: &[Span]) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
    let rooms = spans.iter().map(|span| span.room_nid.get()).collect();
    let after = spans.iter().map(|span| span.after.get()).collect();
    let until = spans.iter().map(|span| span.until.get()).collect();
    (rooms, after, until)
}

/// The last `limit` accepted events of each span, oldest first within a room.
#[tracing::instrument(name = "storage.events.latest", level = "debug", skip_all)]
pub async fn latest(
    db: &mut Connection,
    spans: &[Span],
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    let room_nids: Vec<i64> = spans.iter().map(|span| span.room_nid.get()).collect();
    // The places of the timeline's events in the history follow from their positions.
    let order = |position: fn(&Span) -> StreamPosition| {
        let orders = spans.iter().map(position).map(HistoryOrder::of);
        orders.map(HistoryOrder::get).collect::<Vec<_>>()
    };
    let (after, until) = (order(|span| span.after), order(|span| span.until));
    let rows = select_events!(
        "JOIN (
            SELECT l.event_nid
            FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS w (room_nid, after, until),
            LATERAL (
                SELECT i.event_nid FROM events i
                WHERE i.room_nid = w.room_nid AND i.history_order > w.after AND i.history_order <= w.until
                    AND i.position IS NOT NULL AND i.verdict = 0
                ORDER BY i.history_order DESC LIMIT $4
            ) l
        ) wanted ON wanted.event_nid = e.event_nid
        ORDER BY e.room_nid, e.position",
        &room_nids,
        &after,
        &until,
        limit
    );
    collect(rows.fetch_all(db).await?)
}
