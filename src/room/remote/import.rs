//! Taking up a room of other servers as it is when a user of this server joins it.
//!
//! The events of the state are stored first, as outliers. Then one write set creates the room, or
//! gives it a new head, with the join as its only event.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use event::{Pdu, RoomVersion, State, Verdict};
use ruma::{EventId, OwnedEventId, OwnedServerName, events::StateEventType};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::{
    CommitError, events,
    rooms::{NewPartialState, NewRoom, Parent, RoomStatus, RoomWrite},
    snapshots::{self, StateNids},
    stream::{StateChange, StateEvent},
};
use types::EventNid;

use super::write::NewMember;
use crate::{
    Error, Rooms,
    head::Head,
    outliers::{KnownEvents, RoomIdentity, blocking},
};

/// How often a write is tried that others come before.
const MAX_ATTEMPTS: usize = 8;

/// What another server answers to a join.
pub(super) struct Import {
    pub(super) version: RoomVersion,
    pub(super) join: Arc<Pdu>,
    /// The state before the join.
    pub(super) state: Vec<Box<RawValue>>,
    pub(super) auth_chain: Vec<Box<RawValue>>,
    /// The server that let the user in and the servers that it says are in the room, if it left most
    /// members out of the state.
    pub(super) partial: Option<(OwnedServerName, BTreeSet<OwnedServerName>)>,
}

/// A join with the state that it is added to, all of it checked.
struct Checked {
    room: RoomIdentity,
    join: Arc<Pdu>,
    auth_nids: Vec<EventNid>,
    creator: ruma::OwnedUserId,
    /// The state before the join.
    state: Vec<StateEvent>,
    /// As in [`Import`].
    partial: Option<(OwnedServerName, Arc<BTreeSet<OwnedServerName>>)>,
}

impl Rooms {
    /// Takes up a room, after checking everything. The lock of its joins is held.
    #[tracing::instrument(name = "room.import", skip_all, fields(room.id = %import.join.room_id(), state = import.state.len()))]
    pub(super) async fn import(&self, import: Import) -> Result<(), Error> {
        let room_id = import.join.room_id().clone();
        let room = self.room_of_others(&room_id, &import.version).await?;
        let state_ids = {
            let (room, state) = (room.clone(), import.state.clone());
            blocking(move || event_ids(&room, &state)).await?
        };
        let mut events = import.state;
        events.extend(import.auth_chain);
        let events = self.verify_events(&room, events).await?;
        let mut known = self.store_outliers(&room, events).await?;
        // A server that leaves members out may leave out those that authorise the join, too.
        let authorising = import.join.auth_events().iter();
        let missing = authorising.filter(|event_id| !known.contains_key(*event_id));
        let missing: Vec<OwnedEventId> = missing.cloned().collect();
        if !missing.is_empty() {
            known.extend(self.known_events(&room, &missing).await?);
        }
        let is_partial = import.partial.is_some();
        let checked = blocking(move || {
            let taken = TakenState::pick(&state_ids, &known, &import.join, is_partial)?;
            check(room, import.join, taken, &known)
        });
        let mut checked = checked.await??;
        checked.partial = (import.partial).map(|(via, servers)| (via, Arc::new(servers)));

        let entry = self.0.heads.get(&room_id);
        for _ in 0..MAX_ATTEMPTS {
            let mut pending = entry.pending.lock().await;
            let head = self.known_head(&entry, &room_id, &mut pending).await?;
            let write = self.import_write(&checked, head).await?;
            if self.commit_write(&entry, pending, write).await? {
                if is_partial {
                    self.0.partial_states.notify();
                }
                return Ok(());
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// The write that adds a join to a state, and makes the result the head of the room.
    async fn import_write(
        &self,
        checked: &Checked,
        head: Option<Head>,
    ) -> Result<RoomWrite, Error> {
        let Checked { room, join, .. } = checked;
        let event = StateEvent {
            nid: EventNid(self.0.nids.allocate_one().await?),
            pdu: join.clone(),
        };
        let mut state = checked.state.clone();
        let is_same_key = |other: &StateEvent| {
            other.pdu.event_type() == join.event_type() && other.pdu.state_key() == join.state_key()
        };
        let replaces = state.iter().find(|event| is_same_key(event)).cloned();
        state.retain(|event| !is_same_key(event));
        state.push(event.clone());
        let state = self.numbered(&state).await?;
        let entries: StateNids = state.iter().map(|(key, event)| (*key, event.nid)).collect();
        let before = self.stored_state(head.as_ref()).await?;
        let snapshot_nid = self.store_state(room.room_nid, &before, &entries).await?;
        let known = self.known_parents(room, join).await?;
        let parents = join.prev_events().iter().map(|id| Parent {
            // Other known ones are outliers: the history ends here.
            nid: known.get(id).copied(),
            event_id: id.clone(),
        });
        let partial = checked.partial.clone();
        let partial = partial.map(|(via, servers)| NewPartialState {
            join_nid: event.nid,
            via,
            servers,
        });
        let expected = head.map(|head| head.state.head_version());
        let member = NewMember {
            event,
            auth_nids: checked.auth_nids.clone(),
            parents: parents.collect(),
            replaces,
            snapshot_nid,
            delta: self.delta(&before.state, &entries, &state).await?,
        };
        let create = NewRoom {
            room_id: room.room_id.clone(),
            version: room.version.id().clone(),
            creator: checked.creator.clone(),
            in_directory: false,
            alias: None,
            status: RoomStatus::Active,
            is_known: true,
        };
        let expected = expected.unwrap_or_default();
        let write = member.into_write(room.room_nid, expected, Some(create));
        Ok(RoomWrite { partial, ..write })
    }

    /// The numbers of the events before a join that are in the room's history: users of this server
    /// were in the room until then.
    async fn known_parents(
        &self,
        room: &RoomIdentity,
        join: &Pdu,
    ) -> Result<HashMap<OwnedEventId, EventNid>, Error> {
        let mut db = self.0.database.acquire().await?;
        let found = events::by_ids(&mut db, join.prev_events())
            .await?
            .into_iter();
        let found =
            found.filter(|event| event.room_nid == room.room_nid && event.history_order.is_some());
        Ok(found
            .map(|event| (event.pdu.event_id().clone(), event.nid))
            .collect())
    }

    /// A state by the numbers of its keys.
    pub(super) async fn numbered(
        &self,
        state: &[StateEvent],
    ) -> Result<HashMap<types::StateKeyNid, StateEvent>, Error> {
        let text = |event: &StateEvent| {
            let state_key = event.pdu.state_key().unwrap_or_default().to_owned();
            (event.pdu.event_type().to_owned(), state_key)
        };
        let keys = self.0.state_keys.ids(state.iter().map(text)).await?;
        let numbered = state.iter().filter_map(|event| {
            let key = keys.get(&text(event))?;
            Some((*key, event.clone()))
        });
        Ok(numbered.collect())
    }

    /// What turns one state into another.
    pub(super) async fn delta(
        &self,
        from: &StateNids,
        to: &StateNids,
        events: &HashMap<types::StateKeyNid, StateEvent>,
    ) -> Result<Vec<StateChange>, Error> {
        let changed: Vec<_> = snapshots::diff(from, to).collect();
        let gone = changed.iter().filter_map(|(_, from, _)| *from);
        let gone = self.0.live.events(gone).await?;
        let changes = changed.into_iter().map(|(key, from, to)| StateChange {
            key,
            from: from.and_then(|nid| {
                let pdu = gone.get(&nid)?.clone();
                Some(StateEvent { nid, pdu })
            }),
            to: to.and_then(|_| events.get(&key).cloned()),
        });
        Ok(changes.collect())
    }
}

/// The ids of the events of a state.
fn event_ids(room: &RoomIdentity, events: &[Box<RawValue>]) -> Vec<OwnedEventId> {
    let ids = events.iter().filter_map(|event| {
        let event = Pdu::parse(event.get(), &room.version).ok()?;
        Some(event.event_id().clone())
    });
    ids.collect()
}

/// The state before a join, as another server tells it.
struct TakenState {
    events: Vec<StateEvent>,
    state: State,
}

impl TakenState {
    /// Picks it from the stored events. Where most members are left out, those that authorise the join
    /// are part of it.
    fn pick(
        state_ids: &[OwnedEventId],
        known: &KnownEvents,
        join: &Pdu,
        is_partial: bool,
    ) -> Result<Self, Error> {
        let is_state =
            |event: &&StateEvent| event.pdu.verdict() != Verdict::Rejected && event.pdu.is_state();
        let find = |id: &OwnedEventId| known.get(id).filter(is_state);
        let mut taken = Self {
            events: Vec::new(),
            state: State::new(),
        };
        for event in state_ids.iter().filter_map(find) {
            if taken.state.insert(event.pdu.clone()).is_some() {
                return Err(invalid("its state has two events of one key"));
            }
            taken.events.push(event.clone());
        }
        let authorising = join.auth_events().iter().filter(|_| is_partial);
        for event in authorising.filter_map(find) {
            let state_key = event.pdu.state_key().unwrap_or_default();
            if event.pdu.event_type() == "m.room.member"
                && taken.state.get("m.room.member", state_key).is_none()
            {
                taken.state.insert(event.pdu.clone());
                taken.events.push(event.clone());
            }
        }
        Ok(taken)
    }
}

/// Checks that a join may be added to a state.
fn check(
    room: RoomIdentity,
    join: Arc<Pdu>,
    taken: TakenState,
    known: &KnownEvents,
) -> Result<Checked, Error> {
    let TakenState { events, state } = taken;
    let create = state.get("m.room.create", "");
    let create = create.ok_or_else(|| invalid("its state has no create event"))?;
    if room_version(create) != room.version.id().as_str() {
        return Err(invalid("its create event names another room version"));
    }
    let find = |id: &EventId| {
        known
            .get(id)
            .filter(|event| event.pdu.verdict() != Verdict::Rejected)
    };
    let auth_events = join.auth_events().iter().map(|id| find(id));
    let auth_events: Option<Vec<&StateEvent>> = auth_events.collect();
    let auth_events =
        auth_events.ok_or_else(|| invalid("events that authorise the join are missing"))?;
    event::auth::check(
        &room.version,
        &join,
        &|event_type: &StateEventType, key: &str| state.event(event_type, key),
        &|id| find(id).map(|event| event.pdu.clone()),
    )?;
    let auth_nids = auth_events.iter().map(|event| event.nid).collect();
    Ok(Checked {
        creator: create.sender().to_owned(),
        auth_nids,
        state: events,
        room,
        join,
        partial: None,
    })
}

/// The version that a create event names.
fn room_version(create: &Pdu) -> String {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default = "first")]
        room_version: String,
    }
    fn first() -> String {
        "1".to_owned()
    }
    let content = create.content_as::<Content>();
    content.map_or_else(|_| String::new(), |content| content.room_version)
}

fn invalid(reason: &'static str) -> Error {
    Error::InvalidRoom(reason)
}
