//! Adding a membership event of another server to the graph, which was drafted here a moment ago.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use event::{
    Pdu, State, auth,
    receive::{self, AuthEventsError},
};
use ruma::{EventId, OwnedEventId};
use storage::{
    CommitError, StoredEvent, events, relayed_events,
    rooms::{self, HeadVersion, Parent, RoomHead, RoomWrite},
    snapshots::{StateNids, StoredState},
    stream::{StateChange, StateEvent},
};
use types::{EventNid, SnapshotNid, StateKeyNid};

use super::write::NewMember;
use crate::{Error, Rooms, head::Head, outliers::RoomIdentity};

/// How often a write is tried that others come before.
const MAX_ATTEMPTS: usize = 8;

/// An event that was added, and the state that it was added to.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) event: StateEvent,
    pub(super) auth_nids: Vec<EventNid>,
    /// The state after it.
    snapshot_nid: SnapshotNid,
    replaced: Option<EventNid>,
}

/// What an event is added to.
struct Place {
    key: StateKeyNid,
    auth_events: Vec<StateEvent>,
    parents: Vec<StoredEvent>,
    /// The state before it, in its own branch.
    before: StoredState,
}

impl Rooms {
    /// Adds a verified state event whose parents are known. Adding it again is no error.
    pub(super) async fn accept(
        &self,
        room: &RoomIdentity,
        pdu: Arc<Pdu>,
    ) -> Result<Accepted, Error> {
        let entry = self.0.heads.get(&room.room_id);
        for _ in 0..MAX_ATTEMPTS {
            let mut pending = entry.pending.lock().await;
            if let Some(accepted) = self.accepted_before(room, &pdu).await? {
                return Ok(accepted);
            }
            let head = self
                .current_head(&entry, &room.room_id, &mut pending)
                .await?;
            let place = self.place(room, &head, &pdu).await?;
            self.check_place(&head, &pdu, &place).await?;
            let (write, accepted) = self.accept_write(&head, pdu.clone(), place).await?;
            if !self.is_local(pdu.sender()) {
                // Its server knows none of the others in the room.
                let mut db = self.0.database.acquire().await?;
                relayed_events::insert(&mut db, pdu.event_id()).await?;
            }
            if self.commit_write(&entry, pending, write).await? {
                return Ok(accepted);
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// The state before an event that was added, without events that are not wanted.
    pub(super) async fn state_before(
        &self,
        accepted: &Accepted,
        omitted: &HashSet<EventNid>,
    ) -> Result<Vec<(EventNid, Arc<Pdu>)>, Error> {
        let state = self.stored_snapshot(accepted.snapshot_nid).await?.state;
        let nids = state.into_values().filter(|nid| *nid != accepted.event.nid);
        let nids = nids.chain(accepted.replaced);
        let wanted = nids.filter(|nid| !omitted.contains(nid));
        let events = self.0.live.events(wanted).await?;
        Ok(events.into_iter().collect())
    }

    async fn accepted_before(
        &self,
        room: &RoomIdentity,
        pdu: &Pdu,
    ) -> Result<Option<Accepted>, Error> {
        let mut db = self.0.database.acquire().await?;
        let found = events::find(&mut db, room.room_nid, pdu.event_id()).await?;
        let accepted = found.and_then(|event| {
            Some(Accepted {
                snapshot_nid: event.snapshot_nid?,
                replaced: event.replaces.map(|replaced| replaced.nid),
                auth_nids: event.auth_nids,
                event: StateEvent {
                    nid: event.nid,
                    pdu: event.pdu,
                },
            })
        });
        Ok(accepted)
    }

    /// Finds what an event names.
    async fn place(&self, room: &RoomIdentity, head: &Head, pdu: &Pdu) -> Result<Place, Error> {
        let named = pdu.prev_events().iter().chain(pdu.auth_events());
        let named: Vec<OwnedEventId> = named.cloned().collect();
        let found = {
            let mut db = self.0.database.acquire().await?;
            events::by_ids(&mut db, &named).await?
        };
        let found = found
            .into_iter()
            .filter(|event| event.room_nid == room.room_nid);
        let found: HashMap<OwnedEventId, StoredEvent> = found
            .map(|event| (event.pdu.event_id().clone(), event))
            .collect();
        let parents = pdu.prev_events().iter().map(|id| found.get(id).cloned());
        let parents: Option<Vec<StoredEvent>> = parents.collect();
        let parents = parents
            .filter(|all| !all.is_empty())
            .ok_or_else(unknown_events)?;
        let auth_events = pdu.auth_events().iter().map(|id| {
            let StoredEvent { nid, pdu, .. } = found.get(id)?.clone();
            Some(StateEvent { nid, pdu })
        });
        let auth_events: Option<Vec<StateEvent>> = auth_events.collect();
        let snapshots = parents.iter().map(|parent| parent.snapshot_nid);
        let snapshots: Option<Vec<SnapshotNid>> = snapshots.collect();
        let snapshots = snapshots.ok_or_else(unknown_events)?;
        let first = snapshots.first().copied();
        let is_same = snapshots.iter().all(|snapshot| Some(*snapshot) == first);
        // Parents with different states were extremities together: the state after all of them is
        // the current one, of which the event was drafted.
        let snapshot = first.filter(|_| is_same).or(head.state.snapshot_nid());
        let key = (
            pdu.event_type().to_owned(),
            pdu.state_key().unwrap_or_default().to_owned(),
        );
        let keys = self.0.state_keys.ids([key]).await?;
        Ok(Place {
            key: keys.into_values().next().ok_or_else(unknown_events)?,
            auth_events: auth_events.ok_or_else(unknown_events)?,
            parents,
            before: self
                .stored_snapshot(snapshot.ok_or_else(unknown_events)?)
                .await?,
        })
    }

    /// Checks an event against the events that authorise it, the state before it and the current
    /// state.
    async fn check_place(&self, head: &Head, pdu: &Pdu, place: &Place) -> Result<(), Error> {
        let version = &head.version;
        let create = head.state.core().get("m.room.create", "");
        let find = |id: &EventId| {
            let mut named = place.auth_events.iter();
            let found = named.find(|event| *event.pdu.event_id() == *id);
            found.map(|event| event.pdu.clone())
        };
        receive::check_auth_events(version, pdu, create, &find).map_err(|error| match error {
            AuthEventsError::Denied(denied) => Error::Denied(denied),
            AuthEventsError::Missing(_) => unknown_events(),
        })?;
        let wanted = auth::auth_types(
            version,
            pdu.timeline_event_type(),
            pdu.sender(),
            pdu.state_key(),
            pdu.content(),
        )?;
        let mut wanted: Vec<(String, String)> = wanted
            .into_iter()
            .map(|(event_type, key)| (event_type.to_string(), key))
            .collect();
        wanted.push(("m.room.create".to_owned(), String::new()));
        let keys = self.0.state_keys.ids(wanted.iter().cloned()).await?;
        let before = keys.values().filter_map(|key| place.before.state.get(key));
        let now = wanted
            .iter()
            .filter_map(|(event_type, key)| head.state.event_nid(event_type, key));
        let [before, now] = [
            self.0.live.events(before.copied()).await?,
            self.0.live.events(now).await?,
        ]
        .map(|events| events.into_values().collect::<State>());
        let (_, denied) = receive::judge(version, pdu, &before, &now);
        denied.map_or(Ok(()), |denied| Err(denied.into()))
    }

    /// The write that adds an event to the graph and to the current state.
    async fn accept_write(
        &self,
        head: &Head,
        pdu: Arc<Pdu>,
        place: Place,
    ) -> Result<(RoomWrite, Accepted), Error> {
        let nid = EventNid(self.0.nids.allocate_one().await?);
        let current = self.stored_state(Some(head)).await?;
        let mut after = Vec::new();
        for state in [&place.before, &current] {
            let mut entries: StateNids = state.state.clone();
            entries.insert(place.key, nid);
            after.push(self.store_state(head.room_nid, state, &entries).await?);
        }
        let [snapshot_nid, head_snapshot] = after[..] else {
            return Err(storage::Error::Corrupt("two snapshots were stored".to_owned()).into());
        };
        let replaced = place.before.state.get(&place.key).copied();
        let from = current.state.get(&place.key).copied();
        let known = self.0.live.events(replaced.into_iter().chain(from)).await?;
        let known = |nid: Option<EventNid>| {
            let nid = nid?;
            let pdu = known.get(&nid)?.clone();
            Some(StateEvent { nid, pdu })
        };
        let event = StateEvent { nid, pdu };
        let parents = place.parents.iter().map(|parent| Parent {
            nid: Some(parent.nid),
            event_id: parent.pdu.event_id().clone(),
        });
        let auth_nids: Vec<EventNid> = place.auth_events.iter().map(|event| event.nid).collect();
        let member = NewMember {
            event: event.clone(),
            auth_nids: auth_nids.clone(),
            parents: parents.collect(),
            may_be_missed: true,
            replaces: known(replaced),
            snapshot_nid,
            delta: vec![StateChange {
                key: place.key,
                from: known(from),
                to: Some(event.clone()),
            }],
        };
        let new = member.into_event(head.room_nid);
        let write = RoomWrite {
            room_nid: head.room_nid,
            expected: head.state.head_version(),
            next: next_head(head, &new, head_snapshot),
            events: vec![new],
            snapshots: Vec::new(),
            layers: None,
            create: None,
        };
        let accepted = Accepted {
            event,
            auth_nids,
            snapshot_nid,
            replaced,
        };
        Ok((write, accepted))
    }
}

fn unknown_events() -> Error {
    Error::Invalid("The event names events that are not known".to_owned())
}

/// The head after an event: it is an extremity, and those that it follows are none any more.
fn next_head(head: &Head, new: &rooms::NewEvent, snapshot_nid: SnapshotNid) -> RoomHead {
    let present = head.state.head();
    let is_followed = |nid: &EventNid| new.parents.iter().any(|parent| parent.nid == Some(*nid));
    let others = present.version.extremities.iter().copied();
    let others = others.filter(|nid| !is_followed(nid));
    let depth = i64::try_from(new.event.pdu.depth()).unwrap_or(i64::MAX);
    RoomHead {
        version: HeadVersion {
            revision: present.version.revision + 1,
            extremities: std::iter::once(new.event.nid).chain(others).collect(),
        },
        depth: present.depth.max(depth),
        snapshot_nid,
    }
}
