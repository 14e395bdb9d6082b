//! The current state of rooms as numbers, with the few events that everything asks for.

use std::{collections::HashMap, sync::Arc};

use event::Pdu;
use ruma::{OwnedEventId, OwnedRoomId, RoomId, RoomVersionId};
use types::{EventNid, RoomNid, SnapshotNid, StateKeyNid, StreamPosition};

use crate::{
    Connection, Error,
    escape::{escape, unescape},
    events::verdict,
    partial_states::{StatedServers, server_set},
    rooms::{HeadVersion, RoomHead},
    rows::id,
    stream::StateEvent,
};

/// A room with its head and its current state.
#[derive(Clone, Debug)]
pub struct StoredRoomState {
    /// Its number.
    pub room_nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// Where its graph ends.
    pub head: RoomHead,
    /// The ids of the forward extremities, in their order.
    pub extremity_ids: Vec<OwnedEventId>,
    /// Its state, in no order.
    pub entries: Vec<StateEntry>,
    /// The servers that are said to be in the room, if parts of the state are not known.
    pub stated_servers: Option<StatedServers>,
    /// Since when the whole state is known, if it once was not.
    pub completed_at: Option<StreamPosition>,
}

impl StoredRoomState {
    /// The events that were read.
    pub fn events(&self) -> impl Iterator<Item = StateEvent> {
        self.entries.iter().filter_map(|entry| {
            Some(StateEvent {
                nid: entry.event_nid,
                pdu: entry.pdu.clone()?,
            })
        })
    }
}

/// The event of one key.
#[derive(Clone, Debug)]
pub struct StateEntry {
    /// The key.
    pub key: StateKeyNid,
    /// The event.
    pub event_nid: EventNid,
    /// The event type.
    pub event_type: String,
    /// The state key.
    pub state_key: String,
    /// The membership that a member event sets.
    pub membership: Option<String>,
    /// The event, if its type is among those that are wanted or the state is small.
    pub pdu: Option<Arc<Pdu>>,
}

/// Which events of the state are read, besides the numbers.
#[derive(Clone, Copy, Debug)]
pub struct StateSelector<'a> {
    /// The types of which all events are read.
    pub event_types: &'a [&'a str],
    /// A state of at most so many events is read whole: who loads it needs it next.
    pub small_state: i64,
}

/// Which rooms are read.
#[derive(Clone, Copy, Debug)]
pub enum RoomSelector<'a> {
    /// These.
    Nids(&'a [RoomNid]),
    /// The one of this id.
    Id(&'a RoomId),
}

/// The rooms whose graph is known here, in no order: two queries.
#[tracing::instrument(name = "storage.room_states.load", level = "debug", skip_all)]
pub async fn load(
    db: &mut Connection,
    which: RoomSelector<'_>,
    wanted: StateSelector<'_>,
) -> Result<Vec<StoredRoomState>, Error> {
    let mut rooms = rooms(db, which).await?;
    if rooms.is_empty() {
        return Ok(Vec::new());
    }
    let mut entries = entries(db, &rooms, wanted).await?;
    for room in &mut rooms {
        room.entries = entries.remove(&room.room_nid).unwrap_or_default();
    }
    Ok(rooms)
}

async fn rooms(
    db: &mut Connection,
    which: RoomSelector<'_>,
) -> Result<Vec<StoredRoomState>, Error> {
    let (nids, room_id) = match which {
        RoomSelector::Nids(nids) => (nids.iter().map(|nid| nid.get()).collect(), None),
        RoomSelector::Id(room_id) => (Vec::new(), Some(room_id.as_str())),
    };
    let rows = sqlx::query!(
        r#"SELECT r.room_nid, r.room_id, r.version AS "version!", h.revision, h.extremities, h.depth,
            h.snapshot_nid,
            ARRAY(SELECT e.event_id FROM UNNEST(h.extremities) WITH ORDINALITY AS x (event_nid, place)
                JOIN events e ON e.event_nid = x.event_nid ORDER BY x.place) AS "extremity_ids!",
            p.servers AS "servers?", p.completed_at AS "completed_at?"
         FROM rooms r JOIN room_heads h ON h.room_nid = r.room_nid
         LEFT JOIN partial_states p ON p.room_nid = r.room_nid
         WHERE r.room_nid = ANY($1) OR r.room_id = $2"#,
        &nids as &Vec<i64>,
        room_id
    )
    .fetch_all(db)
    .await?;
    let rooms = rows.into_iter().map(|row| {
        let ids = row.extremity_ids.into_iter().map(id);
        Ok(StoredRoomState {
            room_nid: RoomNid(row.room_nid),
            room_id: id(row.room_id)?,
            version: id(row.version)?,
            head: RoomHead {
                version: HeadVersion {
                    revision: row.revision,
                    extremities: row.extremities.into_iter().map(EventNid).collect(),
                },
                depth: row.depth,
                snapshot_nid: SnapshotNid(row.snapshot_nid),
            },
            extremity_ids: ids.collect::<Result<_, _>>()?,
            entries: Vec::new(),
            stated_servers: (row.servers.filter(|_| row.completed_at.is_none()))
                .map(server_set)
                .transpose()?,
            completed_at: row.completed_at.map(StreamPosition),
        })
    });
    rooms.collect()
}

struct Row {
    room_nid: i64,
    state_key_nid: i64,
    event_nid: i64,
    event_type: String,
    state_key: String,
    membership: Option<String>,
    event_id: Option<String>,
    verdict: Option<i16>,
    json: Option<String>,
}

async fn entries(
    db: &mut Connection,
    rooms: &[StoredRoomState],
    wanted: StateSelector<'_>,
) -> Result<HashMap<RoomNid, Vec<StateEntry>>, Error> {
    let nids: Vec<i64> = rooms.iter().map(|room| room.room_nid.get()).collect();
    let types = wanted.event_types.iter();
    let types: Vec<String> = types.map(|name| escape(name).into_owned()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT c.room_nid AS "room_nid!", c.state_key_nid AS "state_key_nid!", c.event_nid AS "event_nid!",
            c.event_type AS "event_type!", c.state_key AS "state_key!", m.membership AS "membership?",
            e.event_id AS "event_id?", e.verdict AS "verdict?", e.json AS "json?"
         FROM UNNEST($1::bigint[]) AS w (room_nid)
         CROSS JOIN LATERAL (
            SELECT count(*) <= $3::bigint AS is_small
            FROM (SELECT FROM current_state s WHERE s.room_nid = w.room_nid LIMIT $3::bigint + 1) AS counted
         ) AS size
         JOIN current_state c ON c.room_nid = w.room_nid
         LEFT JOIN memberships m ON c.event_type = 'm.room.member' AND m.room_nid = c.room_nid
            AND m.user_id = c.state_key
         LEFT JOIN events e
            ON e.event_nid = CASE WHEN size.is_small OR c.event_type = ANY($2) THEN c.event_nid END"#,
        &nids,
        &types,
        wanted.small_state
    )
    .fetch_all(db)
    .await?;
    let room_ids: HashMap<i64, &OwnedRoomId> = rooms
        .iter()
        .map(|room| (room.room_nid.get(), &room.room_id))
        .collect();
    let mut entries: HashMap<RoomNid, Vec<StateEntry>> = HashMap::new();
    for row in rows {
        let Some(room_id) = room_ids.get(&row.room_nid) else {
            continue;
        };
        let room = entries.entry(RoomNid(row.room_nid)).or_default();
        room.push(row.into_entry(room_id)?);
    }
    Ok(entries)
}

impl Row {
    fn into_entry(self, room_id: &OwnedRoomId) -> Result<StateEntry, Error> {
        let pdu = match (self.event_id, self.verdict, self.json) {
            (Some(event_id), Some(number), Some(json)) => {
                let pdu = Pdu::from_stored(id(event_id)?, room_id.clone(), json.into())
                    .map_err(|error| Error::Corrupt(error.to_string()))?;
                Some(Arc::new(pdu.with_verdict(verdict(number)?)))
            }
            _ => None,
        };
        Ok(StateEntry {
            key: StateKeyNid(self.state_key_nid),
            event_nid: EventNid(self.event_nid),
            event_type: unescape(self.event_type),
            state_key: unescape(self.state_key),
            membership: self.membership.map(unescape),
            pdu,
        })
    }
}
