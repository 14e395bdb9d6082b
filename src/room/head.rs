//! A room's head in memory: what is needed to append the next event.

use std::{collections::HashMap, sync::Arc};

use event::{
    Pdu, RoomVersion, State,
    layers::{Chain, Digest, StateSource},
};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, UserId, events::room::member::MembershipState};
use storage::{
    Connection, events,
    rooms::{self, HeadVersion},
    snapshots::{self, NewSnapshot},
    stream,
};
use types::{EventNid, RoomNid, SnapshotNid, StateKeyNid, StreamPosition};

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
    /// The hashes by which events of room versions 1 and 2 name the extremities; empty in others.
    extremity_hashes: HashMap<OwnedEventId, String>,
    pub(crate) depth: u64,
    pub(crate) state: State,
    /// The ids of the events in `state`.
    pub(crate) nids: imbl::HashMap<OwnedEventId, EventNid>,
    /// `state` as numbers.
    entries: Entries,
    /// The layers that `state` is stored in.
    chain: Chain,
    digest: Digest,
    /// About how many bytes the events of `state` take.
    state_bytes: usize,
}

/// A state as numbers; a clone shares its structure.
#[derive(Clone, Debug, Default)]
struct Entries(imbl::OrdMap<StateKeyNid, EventNid>);

impl StateSource for Entries {
    fn event(&self, key: StateKeyNid) -> Option<EventNid> {
        self.0.get(&key).copied()
    }

    fn all(&self) -> Vec<(StateKeyNid, EventNid)> {
        self.0.iter().map(|(key, event)| (*key, *event)).collect()
    }
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
            extremity_hashes: HashMap::new(),
            depth: 0,
            state: State::new(),
            nids: imbl::HashMap::new(),
            entries: Entries::default(),
            chain: Chain::default(),
            digest: Digest::default(),
            state_bytes: 0,
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
    #[tracing::instrument(name = "room.load_head", level = "debug", skip_all)]
    pub(crate) async fn load(db: &mut Connection, room_id: &RoomId) -> Result<Option<Self>, Error> {
        let loaded_at = stream::position(db).await?;
        let Some(room) = rooms::find(db, room_id).await? else {
            return Ok(None);
        };
        let version = RoomVersion::of(&room.version)
            .ok_or_else(|| Error::UnsupportedVersion(room.version.to_string()))?;
        let state = events::current_state(db, &[room.room_nid]).await?;
        let snapshot_nid = room.head.snapshot_nid;
        let mut stored = snapshots::read(db, &[snapshot_nid]).await?;
        let stored = stored.remove(&snapshot_nid).unwrap_or_default();
        let ids: HashMap<EventNid, OwnedEventId> =
            rooms::event_ids(db, &room.head.version.extremities)
                .await?
                .into_iter()
                .collect();
        // In the order of the table: they are compared with it.
        let extremities = room.head.version.extremities.iter();
        let extremities = extremities.filter_map(|nid| Some((*nid, ids.get(nid)?.clone())));
        let extremity_hashes = if version.references_have_hashes() {
            let events = events::by_nids(db, &room.head.version.extremities).await?;
            reference_hashes(&version, events.iter().map(|event| &*event.pdu))?
        } else {
            HashMap::new()
        };
        Ok(Some(Self {
            room_nid: room.room_nid,
            room_id: room.room_id,
            version,
            extremity_hashes,
            loaded_at,
            revision: room.head.version.revision,
            extremities: extremities.collect(),
            depth: room.head.depth as u64,
            nids: state
                .iter()
                .map(|event| (event.pdu.event_id().to_owned(), event.nid))
                .collect(),
            state_bytes: state.iter().map(|event| bytes(&event.pdu)).sum(),
            state: state.into_iter().map(|event| event.pdu).collect(),
            entries: Entries(stored.state.into_iter().collect()),
            chain: stored.chain,
            digest: stored.digest,
        }))
    }

    /// Adds an event that follows the extremities, or those of them that it names.
    pub(crate) fn insert_extremity(&mut self, nid: EventNid, pdu: &Pdu) -> Result<(), Error> {
        self.extremities.insert(0, (nid, pdu.event_id().to_owned()));
        if self.version.references_have_hashes() {
            let extremities = &self.extremities;
            self.extremity_hashes
                .retain(|id, _| extremities.iter().any(|(_, other)| other == id));
            self.extremity_hashes
                .extend(reference_hashes(&self.version, [pdu])?);
        }
        Ok(())
    }

    /// The hashes by which the next event names the extremities and `auth_events`; only room
    /// versions 1 and 2 want them.
    pub(crate) fn reference_hashes(
        &self,
        auth_events: &[Arc<Pdu>],
    ) -> Result<HashMap<OwnedEventId, String>, Error> {
        if !self.version.references_have_hashes() {
            return Ok(HashMap::new());
        }
        let mut hashes = reference_hashes(&self.version, auth_events.iter().map(AsRef::as_ref))?;
        hashes.extend(self.extremity_hashes.clone());
        Ok(hashes)
    }

    /// What the head is compared by.
    pub(crate) fn head_version(&self) -> HeadVersion {
        HeadVersion {
            revision: self.revision,
            extremities: self.extremities.iter().map(|(nid, _)| *nid).collect(),
        }
    }

    /// The snapshot of the current state; none before the first event.
    pub(crate) fn snapshot_nid(&self) -> Option<SnapshotNid> {
        self.chain.snapshot_nid()
    }

    /// Puts an event into the state and returns the one that it replaces.
    pub(crate) fn insert_state(&mut self, pdu: &Arc<Pdu>) -> Option<Arc<Pdu>> {
        self.state_bytes += bytes(pdu);
        let replaced = self.state.insert(pdu.clone())?;
        self.state_bytes = self.state_bytes.saturating_sub(bytes(&replaced));
        Some(replaced)
    }

    /// Sets the event of a key in the state as numbers, and plans the snapshot of it.
    pub(crate) fn set_entry(
        &mut self,
        snapshot_nid: SnapshotNid,
        key: StateKeyNid,
        event: EventNid,
    ) -> NewSnapshot {
        if let Some(before) = self.entries.0.insert(key, event) {
            self.digest.remove(key, before);
        }
        self.digest.insert(key, event);
        let layer = self.chain.push(snapshot_nid, [key], &self.entries);
        NewSnapshot {
            nid: snapshot_nid,
            parent: layer.parent,
            depth: layer.depth as i16,
            entries: layer.entries,
            digest: self.digest,
            is_partial: false,
        }
    }

    /// The id of an event of the current state.
    pub(crate) fn nid(&self, pdu: &Pdu) -> Option<EventNid> {
        self.nids.get(pdu.event_id()).copied()
    }

    /// About how many bytes the head takes.
    pub(crate) fn weight(&self) -> usize {
        self.state_bytes + self.entries.0.len() * 32 + self.chain.weight() + 1024
    }
}

fn reference_hashes<'a>(
    version: &RoomVersion,
    events: impl IntoIterator<Item = &'a Pdu>,
) -> Result<HashMap<OwnedEventId, String>, Error> {
    let hash = |pdu: &Pdu| Ok((pdu.event_id().to_owned(), pdu.reference_hash(version)?));
    events.into_iter().map(hash).collect()
}

/// About how many bytes an event takes in a state, with its id and number.
fn bytes(pdu: &Pdu) -> usize {
    pdu.weight() + 160
}
