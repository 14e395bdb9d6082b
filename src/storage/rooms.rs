//! Rooms: identity, version, head, directory and aliases.

use std::{collections::BTreeSet, sync::Arc};

use event::{Pdu, Verdict};
use ruma::{
    OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomAliasId, RoomId,
    RoomVersionId, UserId,
};
use types::{EventNid, HistoryOrder, RoomNid, SnapshotNid, StreamPosition};

use crate::{
    Connection, Error, StoredEvent,
    rows::id,
    snapshots::{Layers, NewSnapshot},
    stream::{Redacted, StateChange},
};

/// What a write set does to a room.
#[derive(Debug)]
pub struct RoomWrite {
    /// The room.
    pub room_nid: RoomNid,
    /// The head that the set was built on.
    pub expected: HeadVersion,
    /// The head afterwards.
    pub next: RoomHead,
    /// The events that enter the room, parents before children.
    pub events: Vec<NewEvent>,
    /// The snapshots made on the way.
    pub snapshots: Vec<NewSnapshot>,
    /// The layers of the current state afterwards, if they are known.
    pub layers: Option<Layers>,
    /// Set when the room does not exist yet.
    pub create: Option<NewRoom>,
    /// What is found out of the state of a room of which parts were not known.
    pub recheck: Option<Recheck>,
    /// Set when parts of the state are not known from here on.
    pub partial: Option<NewPartialState>,
}

/// The state of a room of which parts were not known, and what follows from it for events that were
/// judged without.
#[derive(Debug)]
pub struct Recheck {
    /// The events of which something is other than it was taken to be.
    pub events: Vec<RecheckedEvent>,
    /// What the current state is other than it was taken to be.
    pub delta: Vec<StateChange>,
    /// The servers that were in the room for a while without being believed to be.
    pub missed: Vec<OwnedServerName>,
}

/// What is known of an event since the whole state before it is.
#[derive(Debug)]
pub struct RecheckedEvent {
    /// Which event.
    pub nid: EventNid,
    /// What the rules say of it.
    pub verdict: Verdict,
    /// The state after it.
    pub snapshot_nid: SnapshotNid,
    /// The event of its state key in the state before it.
    pub replaces_nid: Option<EventNid>,
}

/// A room that is joined without the events of most members.
#[derive(Debug)]
pub struct NewPartialState {
    /// The join.
    pub join_nid: EventNid,
    /// The server that let the user in.
    pub via: OwnedServerName,
    /// The servers that it says are in the room.
    pub servers: Arc<BTreeSet<OwnedServerName>>,
}

impl RoomWrite {
    /// What those who have the room in memory must know of the head afterwards.
    pub(crate) fn head_change(&self) -> HeadChange {
        let ids = self.events.iter();
        HeadChange {
            room_nid: self.room_nid,
            head: self.next.clone(),
            event_ids: ids
                .filter(|new| self.next.version.extremities.contains(&new.event.nid))
                .map(|new| (new.event.nid, new.event.pdu.event_id().clone()))
                .collect(),
            layers: self.layers.clone(),
        }
    }
}

/// The new head of a room that was written to.
#[derive(Clone, Debug)]
pub struct HeadChange {
    /// The room.
    pub room_nid: RoomNid,
    /// The head.
    pub head: RoomHead,
    /// The ids of the forward extremities that were not among those of the head before.
    pub event_ids: Vec<(EventNid, OwnedEventId)>,
    /// The layers of the current state, if they are known without asking the database.
    pub layers: Option<Layers>,
}

/// What identifies a head of a room. The revision alone could match a head that another
/// process has put in the place of the expected one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadVersion {
    /// Counts the write sets; 0 before the room exists.
    pub revision: i64,
    /// The forward extremities.
    pub extremities: Vec<EventNid>,
}

/// Where the graph of a room ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomHead {
    /// The revision and the forward extremities.
    pub version: HeadVersion,
    /// The depth of the deepest event.
    pub depth: i64,
    /// The current state.
    pub snapshot_nid: SnapshotNid,
}

/// An event that enters a room.
#[derive(Debug)]
pub struct NewEvent {
    /// The event.
    pub event: StoredEvent,
    /// Where it is put.
    pub placement: Placement,
    /// The events that it follows.
    pub parents: Vec<Parent>,
    /// Whether an event that is here already may name it as a parent: never for one that is made
    /// here.
    pub may_be_missed: bool,
    /// The event that it redacts, in its redacted form.
    pub redacts: Option<Redacted>,
    /// The event that it redacts, if that is not known yet.
    pub awaits: Option<OwnedEventId>,
    /// What it was, if it was redacted before it came: `event.pdu` is what is left of it, and
    /// `event.redacted_because`, which is stored, did that.
    pub original: Option<Arc<Pdu>>,
    /// What it changes in the room's current state; only with [`Placement::Timeline`].
    pub delta: Vec<StateChange>,
}

/// Where an event is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At the end of the timeline: it is returned by `/sync`.
    Timeline,
    /// Into the history, where it was missing.
    History(HistoryOrder),
    /// Nowhere: it is known for the state or the auth chain only.
    Outlier,
}

/// An event that another one names as its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its number; none if it is not known.
    pub nid: Option<EventNid>,
    /// Its id.
    pub event_id: OwnedEventId,
}

/// Whether one of the parents of an event is not known.
pub fn is_gap(parents: &[Parent]) -> bool {
    parents.iter().any(|parent| parent.nid.is_none())
}

/// How this server stands to a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomStatus {
    /// It takes part in it.
    #[default]
    Active,
    /// Its users are only invited to it or knock at it, and it is not known itself.
    Invited,
}

impl RoomStatus {
    pub(crate) fn number(self) -> i16 {
        match self {
            Self::Active => 0,
            Self::Invited => 1,
        }
    }

    fn from_number(number: i16) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Active),
            1 => Ok(Self::Invited),
            _ => Err(Error::Corrupt(format!("room status {number}"))),
        }
    }
}

/// A room to create.
#[derive(Debug)]
pub struct NewRoom {
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// Who made it.
    pub creator: OwnedUserId,
    /// Whether it is listed in the public room directory.
    pub in_directory: bool,
    /// An alias that is made with it; when it is taken, the room is not made.
    pub alias: Option<OwnedRoomAliasId>,
    /// How this server stands to it.
    pub status: RoomStatus,
    /// Whether its row is there already: a room of another server of which events were stored, or of
    /// which an invitation is known. Its head is expected as of any other room.
    pub is_known: bool,
}

/// A room whose graph is known here.
#[derive(Clone, Debug)]
pub struct Room {
    /// Its number.
    pub room_nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// Who made it.
    pub creator: OwnedUserId,
    /// Where its graph ends.
    pub head: RoomHead,
    /// The process that wrote the head.
    pub writer: i64,
    /// Whether the room is listed in the public room directory.
    pub in_directory: bool,
}

struct Row {
    room_nid: i64,
    room_id: String,
    version: String,
    creator: String,
    revision: i64,
    extremities: Vec<i64>,
    depth: i64,
    snapshot_nid: i64,
    writer: i64,
    in_directory: bool,
}

impl TryFrom<Row> for Room {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let version = HeadVersion {
            revision: row.revision,
            extremities: row.extremities.into_iter().map(EventNid).collect(),
        };
        Ok(Self {
            room_nid: RoomNid(row.room_nid),
            room_id: id(row.room_id)?,
            version: id(row.version)?,
            creator: id(row.creator)?,
            head: RoomHead {
                version,
                depth: row.depth,
                snapshot_nid: SnapshotNid(row.snapshot_nid),
            },
            writer: row.writer,
            in_directory: row.in_directory,
        })
    }
}

macro_rules! select_rooms {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"SELECT r.room_nid, r.room_id, r.version AS "version!", r.creator AS "creator!", h.revision,
                h.extremities, h.depth, h.snapshot_nid, h.writer, r.in_directory
             FROM rooms r JOIN room_heads h ON h.room_nid = r.room_nid "#
                + $tail
            $(, $argument)*
        )
    };
}

/// The room of that id, if its graph is known here.
pub async fn find(db: &mut Connection, room_id: &RoomId) -> Result<Option<Room>, Error> {
    let row = select_rooms!("WHERE r.room_id = $1", room_id.as_str())
        .fetch_optional(db)
        .await?;
    row.map(Room::try_from).transpose()
}

/// The heads of rooms with the ids of all of their forward extremities.
pub(crate) async fn heads(
    db: &mut Connection,
    rooms: &[RoomNid],
) -> Result<Vec<HeadChange>, Error> {
    let rooms: Vec<i64> = rooms.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT h.room_nid, h.revision, h.extremities, h.depth, h.snapshot_nid,
            ARRAY(SELECT e.event_id FROM UNNEST(h.extremities) WITH ORDINALITY AS x (event_nid, place)
                JOIN events e ON e.event_nid = x.event_nid ORDER BY x.place) AS "event_ids!"
         FROM room_heads h WHERE h.room_nid = ANY($1)"#,
        &rooms
    )
    .fetch_all(db)
    .await?;
    let heads = rows.into_iter().map(|row| {
        let extremities: Vec<_> = row.extremities.into_iter().map(EventNid).collect();
        let ids = row.event_ids.into_iter().map(id);
        let ids: Vec<OwnedEventId> = ids.collect::<Result<_, _>>()?;
        Ok(HeadChange {
            room_nid: RoomNid(row.room_nid),
            event_ids: extremities.iter().copied().zip(ids).collect(),
            head: RoomHead {
                version: HeadVersion {
                    revision: row.revision,
                    extremities,
                },
                depth: row.depth,
                snapshot_nid: SnapshotNid(row.snapshot_nid),
            },
            layers: None,
        })
    });
    heads.collect()
}

/// How this server stands to the room of that id; none if nothing is known of it.
pub async fn status(db: &mut Connection, room_id: &RoomId) -> Result<Option<RoomStatus>, Error> {
    let status = sqlx::query_scalar!(
        "SELECT status FROM rooms WHERE room_id = $1",
        room_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    status.map(RoomStatus::from_number).transpose()
}

/// Makes a room known of which only an invitation or a knock is; returns its number, whether it is
/// new or not.
pub async fn insert_invited(
    db: &mut Connection,
    room_nid: RoomNid,
    room_id: &RoomId,
) -> Result<RoomNid, Error> {
    let nid = sqlx::query_scalar!(
        "INSERT INTO rooms (room_nid, room_id, status) VALUES ($1, $2, $3)
         ON CONFLICT (room_id) DO UPDATE SET room_id = excluded.room_id RETURNING room_nid",
        room_nid.get(),
        room_id.as_str(),
        RoomStatus::Invited.number()
    )
    .fetch_one(db)
    .await?;
    Ok(RoomNid(nid))
}

/// Rooms by number, in no order.
pub async fn by_nids(db: &mut Connection, nids: &[RoomNid]) -> Result<Vec<Room>, Error> {
    let nids: Vec<i64> = nids.iter().map(|nid| nid.get()).collect();
    let rows = select_rooms!("WHERE r.room_nid = ANY($1)", &nids)
        .fetch_all(db)
        .await?;
    rows.into_iter().map(Room::try_from).collect()
}

/// Those of the rooms in which an event or a receipt came after a position, or the whole state became
/// known.
pub async fn changed_since(
    db: &mut Connection,
    room_nids: &[RoomNid],
    since: StreamPosition,
) -> Result<Vec<RoomNid>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let nids = sqlx::query_scalar!(
        r#"SELECT w.room_nid AS "room_nid!" FROM UNNEST($1::bigint[]) AS w (room_nid)
         WHERE EXISTS (
                SELECT FROM events e
                WHERE e.room_nid = w.room_nid AND e.history_order > $3 AND e.position IS NOT NULL
            )
            OR EXISTS (SELECT FROM receipts c WHERE c.room_nid = w.room_nid AND c.position > $2)
            OR EXISTS (SELECT FROM partial_states p WHERE p.room_nid = w.room_nid AND p.completed_at > $2)"#,
        &room_nids,
        since.get(),
        HistoryOrder::of(since).get()
    )
    .fetch_all(db)
    .await?;
    Ok(nids.into_iter().map(RoomNid).collect())
}

/// All rooms that are listed in the public room directory.
pub async fn in_directory(db: &mut Connection) -> Result<Vec<Room>, Error> {
    let rows = select_rooms!("WHERE r.in_directory ORDER BY r.room_nid")
        .fetch_all(db)
        .await?;
    rows.into_iter().map(Room::try_from).collect()
}

/// Lists the room in the public room directory, or takes it off.
pub async fn set_in_directory(
    db: &mut Connection,
    room_nid: RoomNid,
    in_directory: bool,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE rooms SET in_directory = $2 WHERE room_nid = $1",
        room_nid.get(),
        in_directory
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Where an alias points, and who made it.
#[derive(Clone, Debug)]
pub struct Alias {
    /// The room.
    pub room_nid: RoomNid,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// Who made it.
    pub creator: OwnedUserId,
}

/// Makes an alias; `false` when it exists already.
pub async fn insert_alias(
    db: &mut Connection,
    alias: &RoomAliasId,
    room_nid: RoomNid,
    creator: &UserId,
) -> Result<bool, Error> {
    let result = sqlx::query!(
        "INSERT INTO room_aliases (alias, room_nid, creator) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        alias.as_str(),
        room_nid.get(),
        creator.as_str()
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Where an alias points.
pub async fn find_alias(db: &mut Connection, alias: &RoomAliasId) -> Result<Option<Alias>, Error> {
    let row = sqlx::query!(
        "SELECT a.room_nid, r.room_id, a.creator FROM room_aliases a JOIN rooms r USING (room_nid) WHERE a.alias = $1",
        alias.as_str()
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Alias {
            room_nid: RoomNid(row.room_nid),
            room_id: id(row.room_id)?,
            creator: id(row.creator)?,
        })
    })
    .transpose()
}

/// Removes an alias; `false` when there is none.
pub async fn delete_alias(db: &mut Connection, alias: &RoomAliasId) -> Result<bool, Error> {
    let result = sqlx::query!("DELETE FROM room_aliases WHERE alias = $1", alias.as_str())
        .execute(db)
        .await?;
    Ok(result.rows_affected() == 1)
}

/// The aliases that point to a room, in alphabetical order.
pub async fn aliases(
    db: &mut Connection,
    room_nid: RoomNid,
) -> Result<Vec<OwnedRoomAliasId>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT alias FROM room_aliases WHERE room_nid = $1 ORDER BY alias",
        room_nid.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(id).collect()
}

/// Makes the aliases of a room point to another, and lists that in the public room directory in its
/// place.
pub async fn hand_over_names(db: &mut Connection, from: RoomNid, to: &RoomId) -> Result<(), Error> {
    sqlx::query!(
        "WITH heir AS (SELECT room_nid FROM rooms WHERE room_id = $2),
            aliases AS (
                UPDATE room_aliases a SET room_nid = heir.room_nid FROM heir WHERE a.room_nid = $1
            ),
            unlisted AS (
                UPDATE rooms SET in_directory = false WHERE room_nid = $1 AND in_directory RETURNING 1
            )
         UPDATE rooms r SET in_directory = true FROM heir
         WHERE r.room_nid = heir.room_nid AND EXISTS (SELECT FROM unlisted)",
        from.get(),
        to.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The ids of events by number, in no order.
pub async fn event_ids(
    db: &mut Connection,
    nids: &[EventNid],
) -> Result<Vec<(EventNid, OwnedEventId)>, Error> {
    let nids: Vec<i64> = nids.iter().map(|nid| nid.get()).collect();
    let rows = sqlx::query!(
        "SELECT event_nid, event_id FROM events WHERE event_nid = ANY($1)",
        &nids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| Ok((EventNid(row.event_nid), id(row.event_id)?)))
        .collect()
}
