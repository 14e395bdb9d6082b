//! What this server knows of rooms that it does not take part in: its users are invited to them, or
//! knock at them.
//!
//! Of such a room there is a head as of others, with what servers tell outsiders of its state. That
//! is replaced when a user of this server joins.

use std::sync::Arc;

use event::{Pdu, RoomVersion};
use ruma::{EventId, OwnedEventId, RoomId};
use serde_json::{Map, Value, value::RawValue};
use storage::{
    CommitError, StoredEvent, events,
    rooms::{NewRoom, RoomStatus, RoomWrite},
    snapshots::StateNids,
    stream::{StateChange, StateEvent},
};
use types::EventNid;

use super::write::NewMember;
use crate::{Error, Rooms, head::Head, outliers::RoomIdentity};

/// How often a write is tried that others come before.
const MAX_ATTEMPTS: usize = 8;
/// The most events of state that another server may tell of its room.
pub(super) const MAX_SHOWN: usize = 32;
/// What the ids of events begin with that another server has told of. No hash does.
const STRIPPED: &str = "$stripped-state-of-";

/// A membership of a user of this server in a room that this server does not take part in.
pub(super) struct OutsideMembership {
    pub(super) version: RoomVersion,
    /// The member event.
    pub(super) event: Arc<Pdu>,
    /// What the other server tells of the room's state, as events or without what makes them such.
    pub(super) shown: Vec<Box<RawValue>>,
}

impl Rooms {
    /// Records a membership, and what is known of the room with it.
    pub(super) async fn record_outside(&self, new: OutsideMembership) -> Result<(), Error> {
        let room_id = new.event.room_id().clone();
        let lock = self.0.remote_joins.of(&room_id);
        let _joining = lock.lock().await;
        let room = self.room_of_others(&room_id, &new.version).await?;
        let known = {
            let mut db = self.0.database.acquire().await?;
            events::find(&mut db, room.room_nid, new.event.event_id()).await?
        };
        if known.is_some() {
            return Ok(());
        }
        let shown = self.store_shown(&room, &new.shown).await?;
        let entry = self.0.heads.get(&room.room_id);
        for _ in 0..MAX_ATTEMPTS {
            let mut pending = entry.pending.lock().await;
            let head = self.known_head(&entry, &room.room_id, &mut pending).await?;
            if self.takes_part_in(head.as_ref()) {
                // A user of this server has joined: the event comes like any other.
                return Ok(());
            }
            let write = self.outside_write(&room, head, &new.event, &shown).await?;
            if self.commit_write(&entry, pending, write).await? {
                return Ok(());
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Stores what another server tells of a room's state. Nobody vouches for it, so that it is
    /// stored under ids of this server's own making: it is never taken for the events themselves.
    async fn store_shown(
        &self,
        room: &RoomIdentity,
        shown: &[Box<RawValue>],
    ) -> Result<Vec<StateEvent>, Error> {
        let shown = shown.iter().take(MAX_SHOWN);
        let nids = self.0.nids.allocate(shown.len()).await?;
        let events = shown.zip(nids).filter_map(|(shown, nid)| {
            let pdu = Arc::new(stripped(&room.room_id, nid, shown)?);
            Some(StateEvent {
                nid: EventNid(nid),
                pdu,
            })
        });
        let events: Vec<StateEvent> = events.collect();
        let stored = events.iter().map(|event| StoredEvent {
            nid: event.nid,
            room_nid: room.room_nid,
            position: None,
            history_order: None,
            pdu: event.pdu.clone(),
            snapshot_nid: None,
            replaces: None,
            redacted_because: None,
            auth_nids: Vec::new(),
            after_gap: false,
            has_relations: false,
            transaction: None,
        });
        let stored: Vec<StoredEvent> = stored.collect();
        let mut db = self.0.database.acquire().await?;
        events::insert_outliers(&mut db, &stored).await?;
        Ok(events)
    }

    async fn outside_write(
        &self,
        room: &RoomIdentity,
        head: Option<Head>,
        pdu: &Arc<Pdu>,
        shown: &[StateEvent],
    ) -> Result<RoomWrite, Error> {
        let event = StateEvent {
            nid: EventNid(self.0.nids.allocate_one().await?),
            pdu: pdu.clone(),
        };
        let before = self.stored_state(head.as_ref()).await?;
        let mut added = shown.to_vec();
        added.push(event.clone());
        let added = self.numbered(&added).await?;
        let mut entries: StateNids = before.state.clone();
        entries.extend(added.iter().map(|(key, event)| (*key, event.nid)));
        let snapshot_nid = self.store_state(room.room_nid, &before, &entries).await?;
        let delta = self.delta(&before.state, &entries, &added).await?;
        let is_own = |change: &&StateChange| {
            let to = change.to.as_ref();
            to.is_some_and(|to| to.nid == event.nid)
        };
        let replaces = delta.iter().find(is_own);
        let replaces = replaces.and_then(|change| change.from.clone());
        let create = head.is_none().then(|| NewRoom {
            room_id: room.room_id.clone(),
            version: room.version.id().clone(),
            creator: pdu.sender().to_owned(),
            in_directory: false,
            alias: None,
            status: RoomStatus::Invited,
            is_known: true,
        });
        let expected = head.map(|head| head.state.head_version());
        let member = NewMember {
            event,
            auth_nids: Vec::new(),
            // Nothing of the room's history is known.
            parents: Vec::new(),
            replaces,
            snapshot_nid,
            delta,
        };
        Ok(member.into_write(room.room_nid, expected.unwrap_or_default(), create))
    }
}

/// Whether an event is what another server told of a room, and nobody vouches for.
pub(super) fn is_stripped(event: &Pdu) -> bool {
    event.event_id().as_str().starts_with(STRIPPED)
}

/// What another server tells of one key of a room's state, as an event of that number.
fn stripped(room_id: &RoomId, nid: i64, shown: &RawValue) -> Option<Pdu> {
    const KEPT: [&str; 5] = ["type", "state_key", "sender", "content", "origin_server_ts"];
    let mut event: Map<String, Value> = serde_json::from_str(shown.get()).ok()?;
    event.retain(|field, _| KEPT.contains(&field.as_str()));
    event.get("state_key")?.as_str()?;
    if !event.get("origin_server_ts").is_some_and(Value::is_u64) {
        event.insert("origin_server_ts".to_owned(), 0.into());
    }
    event.insert("room_id".to_owned(), room_id.as_str().into());
    event.insert("depth".to_owned(), 0.into());
    for field in ["prev_events", "auth_events"] {
        event.insert(field.to_owned(), Value::Array(Vec::new()));
    }
    let letters = types::random::letters(18).ok()?;
    let event_id: OwnedEventId = EventId::parse(format!("{STRIPPED}{nid}-{letters}")).ok()?;
    let json = event::canonical_object(&Value::Object(event).to_string()).ok()?;
    let json = serde_json::to_string(&json).ok()?;
    Pdu::from_stored(event_id, room_id.to_owned(), json.into_boxed_str()).ok()
}
