//! Rooms: identity, version, head, directory and aliases.

use ruma::{
    OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomVersionId,
    UserId,
};
use types::{EventNid, RoomNid, SnapshotNid, StreamPosition};

use crate::{Connection, Error, rows::id};

/// The update of a room's head by a write set.
#[derive(Debug)]
pub struct RoomWrite {
    /// The room.
    pub room_nid: RoomNid,
    /// The revision that the set was built on; it becomes the next one. A new room starts at 0.
    pub expected_revision: i64,
    /// The forward extremities that the set was built on. The revision alone could match a head that
    /// another process has put in the place of the expected one.
    pub expected_extremities: Vec<EventNid>,
    /// The forward extremities afterwards.
    pub extremities: Vec<EventNid>,
    /// The depth of the deepest event afterwards.
    pub depth: i64,
    /// The state of the room afterwards.
    pub snapshot_nid: SnapshotNid,
    /// The snapshots made on the way.
    pub snapshots: Vec<NewSnapshot>,
    /// Set when the room does not exist yet.
    pub create: Option<NewRoom>,
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
}

/// A state snapshot: a parent overlaid with events.
#[derive(Debug)]
pub struct NewSnapshot {
    /// Its number.
    pub nid: SnapshotNid,
    /// What it builds on; none when it stands alone.
    pub parent: Option<SnapshotNid>,
    /// How many parents are below it.
    pub depth: i16,
    /// The events laid over the parent.
    pub events: Vec<EventNid>,
}

/// A row of `rooms`.
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
    /// Counts the write sets.
    pub revision: i64,
    /// The events that no event refers to yet.
    pub extremities: Vec<EventNid>,
    /// The depth of the deepest event.
    pub depth: i64,
    /// The current state.
    pub snapshot_nid: SnapshotNid,
    /// How many snapshots lie below the current one.
    pub snapshot_depth: i16,
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
    snapshot_depth: i16,
    in_directory: bool,
}

impl TryFrom<Row> for Room {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            room_nid: RoomNid(row.room_nid),
            room_id: id(row.room_id)?,
            version: id(row.version)?,
            creator: id(row.creator)?,
            revision: row.revision,
            extremities: row.extremities.into_iter().map(EventNid).collect(),
            depth: row.depth,
            snapshot_nid: SnapshotNid(row.snapshot_nid),
            snapshot_depth: row.snapshot_depth,
            in_directory: row.in_directory,
        })
    }
}

macro_rules! select_rooms {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            "SELECT r.room_nid, r.room_id, r.version, r.creator, r.revision, r.extremities, r.depth,
                r.snapshot_nid, s.depth AS snapshot_depth, r.in_directory
             FROM rooms r JOIN snapshots s ON s.snapshot_nid = r.snapshot_nid "
                + $tail
            $(, $argument)*
        )
    };
}

/// The room of that id.
pub async fn find(db: &mut Connection, room_id: &RoomId) -> Result<Option<Room>, Error> {
    let row = select_rooms!("WHERE r.room_id = $1", room_id.as_str())
        .fetch_optional(db)
        .await?;
    row.map(Room::try_from).transpose()
}

/// Locks the room against other writers until the transaction ends; waiting writers are served in
/// turn.
pub async fn lock(db: &mut Connection, room_id: &RoomId) -> Result<(), Error> {
    sqlx::query!(
        "SELECT room_nid FROM rooms WHERE room_id = $1 FOR NO KEY UPDATE",
        room_id.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(())
}

/// Rooms by number, in no order.
pub async fn by_nids(db: &mut Connection, nids: &[RoomNid]) -> Result<Vec<Room>, Error> {
    let nids: Vec<i64> = nids.iter().map(|nid| nid.get()).collect();
    let rows = select_rooms!("WHERE r.room_nid = ANY($1)", &nids)
        .fetch_all(db)
        .await?;
    rows.into_iter().map(Room::try_from).collect()
}

/// Those of the rooms in which an event or a receipt came after a position.
pub async fn changed_since(
    db: &mut Connection,
    room_nids: &[RoomNid],
    since: StreamPosition,
) -> Result<Vec<RoomNid>, Error> {
    let room_nids: Vec<i64> = room_nids.iter().map(|nid| nid.get()).collect();
    let nids = sqlx::query_scalar!(
        r#"SELECT w.room_nid AS "room_nid!" FROM UNNEST($1::bigint[]) AS w (room_nid)
         WHERE EXISTS (SELECT FROM events e WHERE e.room_nid = w.room_nid AND e.position > $2)
            OR EXISTS (SELECT FROM receipts c WHERE c.room_nid = w.room_nid AND c.position > $2)"#,
        &room_nids,
        since.get()
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
