//! A room's head in memory: what is needed to append the next event.

use std::{collections::HashMap, sync::Arc};

use event::{Pdu, RoomVersion, State};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, UserId, events::room::member::MembershipState};
use storage::{Connection, events, rooms, snapshots, stream};
use types::{EventNid, RoomNid, SnapshotNid, StreamPosition};

use crate::Error;

/// A room's version, forward extremities and current state; a clone shares its structure.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) room_nid: RoomNid,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) version: RoomVersion,
    /// The stream position at which it was loaded: it has all writes of other processes up to there.
    pub(crate) loaded_at: StreamPosition,
    /// Counts the write sets; compared and swapped in the database.
    pub(crate) revision: i64,
    pub(crate) extremities: Vec<(EventNid, OwnedEventId)>,
    pub(crate) depth: u64,
    pub(crate) state: State,
    /// The ids of the events in `state`.
    pub(crate) nids: imbl::HashMap<OwnedEventId, EventNid>,
    /// The snapshot of `state`, as the layers it is stored in, the topmost last.
    pub(crate) layers: Vec<Arc<Layer>>,
}

/// A stored snapshot's own events, laid over the layers below.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) nid: SnapshotNid,
    pub(crate) events: Vec<(EventNid, OwnedEventId)>,
}

impl Head {
    /// The head of a room that does not exist yet.
    pub(crate) fn new(room_nid: RoomNid, room_id: OwnedRoomId, version: RoomVersion) -> Self {
        Self {
            room_nid,
            room_id,
            version,
            loaded_at: StreamPosition::default(),
            revision: 0,
            extremities: Vec::new(),
            depth: 0,
            state: State::new(),
            nids: imbl::HashMap::new(),
            layers: Vec::new(),
        }
    }

    /// Fails if the user is not in the room, with the error for a room that does not exist.
    pub(crate) fn require_member(&self, user_id: &UserId) -> Result<(), Error> {
        if self.state.membership(user_id) == MembershipState::Join {
            Ok(())
        } else {
            Err(Error::NotInRoom)
        }
    }

    /// Reads a room's head from the database.
    pub(crate) async fn load(db: &mut Connection, room_id: &RoomId) -> Result<Option<Self>, Error> {
        let loaded_at = stream::position(db).await?;
        let Some(room) = rooms::find(db, room_id).await? else {
            return Ok(None);
        };
        let version = RoomVersion::of(&room.version)
            .ok_or_else(|| Error::UnsupportedVersion(room.version.to_string()))?;
        let state = events::current_state(db, &[room.room_nid]).await?;
        let ids: HashMap<EventNid, OwnedEventId> = state
            .iter()
            .map(|event| (event.nid, event.pdu.event_id().to_owned()))
            .collect();
        let layers = snapshots::chain(db, room.snapshot_nid)
            .await?
            .into_iter()
            .rev()
            .map(|(nid, events)| {
                // Events that are no longer current are covered by a layer above.
                let events = events
                    .into_iter()
                    .filter_map(|nid| Some((nid, ids.get(&nid)?.clone())));
                Arc::new(Layer {
                    nid,
                    events: events.collect(),
                })
            })
            .collect();
        let extremities = rooms::event_ids(db, &room.extremities).await?;
        Ok(Some(Self {
            room_nid: room.room_nid,
            room_id: room.room_id,
            version,
            loaded_at,
            revision: room.revision,
            extremities,
            depth: room.depth as u64,
            nids: state
                .iter()
                .map(|event| (event.pdu.event_id().to_owned(), event.nid))
                .collect(),
            state: state.into_iter().map(|event| event.pdu).collect(),
            layers,
        }))
    }

    /// The snapshot of the current state.
    pub(crate) fn snapshot_nid(&self) -> SnapshotNid {
        self.layers
            .last()
            .map(|layer| layer.nid)
            .unwrap_or_default()
    }

    /// The id of an event of the current state.
    pub(crate) fn nid(&self, pdu: &Pdu) -> Option<EventNid> {
        self.nids.get(pdu.event_id()).copied()
    }

    /// About how many bytes the head takes.
    pub(crate) fn weight(&self) -> usize {
        self.state
            .iter()
            .map(|pdu| pdu.weight() + 160)
            .sum::<usize>()
            + 1024
    }
}
