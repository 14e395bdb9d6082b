//! Appending events to a room's graph; nothing else does.

use std::{collections::HashMap, sync::Arc};

use event::{Draft, MAX_PREV_EVENTS, Parents, Pdu, PowerLevels, Signer, State, auth};
use live::{EventCache, is_core};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::{
    Database, StateKeys, StoredEvent, Transaction,
    committer::WriteSet,
    events::Replaced,
    rooms::{self, HeadVersion, NewRoom, Parent, Placement, RoomWrite},
    snapshots::{self, NewSnapshot},
    state_keys::StateKeyText,
    stream::{Redacted, StateChange, StateEvent},
};
use types::{EventNid, SnapshotNid, StateKeyNid};

use crate::{Error, head::Head};

pub(crate) mod received;

/// An event that a local user or the server wants to send.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: TimelineEventType,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Box<RawValue>,
    pub(crate) redacts: Option<Redaction>,
    pub(crate) transaction: Option<Transaction>,
}

/// The event that a redaction redacts.
#[derive(Clone, Debug)]
pub(crate) struct Redaction {
    pub(crate) target: OwnedEventId,
    /// The event, if it is known.
    pub(crate) known: Option<KnownTarget>,
}

/// A known event that is redacted.
#[derive(Clone, Debug)]
pub(crate) struct KnownTarget {
    pub(crate) sender: OwnedUserId,
    /// Its redacted form.
    pub(crate) redacted: Redacted,
}

impl NewEvent {
    /// A state event.
    pub(crate) fn state(
        sender: OwnedUserId,
        event_type: TimelineEventType,
        state_key: impl Into<String>,
        content: Box<RawValue>,
    ) -> Self {
        Self {
            sender,
            event_type,
            state_key: Some(state_key.into()),
            content,
            redacts: None,
            transaction: None,
        }
    }
}

/// An event that the rules allow, and where it is attached to the graph.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) pdu: Arc<Pdu>,
    pub(crate) parents: Parents,
    /// The numbers of the events that authorise it.
    pub(crate) auth_nids: Vec<EventNid>,
}

/// Numbers that an event may take: its own, and that of a snapshot.
const NIDS_PER_EVENT: usize = 2;

const MEMBER: &str = "m.room.member";

/// What the events of a write are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendContext<'a> {
    pub(crate) signer: &'a Signer,
    pub(crate) now: MilliSecondsSinceUnixEpoch,
    /// Has events of state that rooms do not hold themselves.
    pub(crate) cache: &'a EventCache,
}

/// Appends events to a room head and collects the rows to write.
///
/// It never waits: when an event of the state is not in memory, appending fails, and what is
/// [`missing`](Self::missing) is read before the write is decided again.
#[derive(Debug)]
pub(crate) struct EventAppender<'a> {
    /// The head at the beginning, with the place of the events appended since, but not their state.
    head: Head,
    expected: HeadVersion,
    /// The events that rules need, those appended since included.
    core: State,
    /// The state events that were appended.
    added: HashMap<StateKeyText, StateEvent>,
    /// Events that were read for this write.
    known: HashMap<EventNid, Arc<Pdu>>,
    missing: Vec<EventNid>,
    events: Vec<rooms::NewEvent>,
    create: Option<NewRoom>,
    context: AppendContext<'a>,
    nids: std::vec::IntoIter<i64>,
}

/// How many numbers must be allocated to append so many events.
pub(crate) fn nids_for(events: usize) -> usize {
    NIDS_PER_EVENT * events
}

impl<'a> EventAppender<'a> {
    /// Takes up a head; `nids` holds as many numbers as [`nids_for`] the events to come.
    pub(crate) fn new(head: Head, context: AppendContext<'a>, nids: Vec<i64>) -> Self {
        Self {
            expected: head.state.head_version(),
            core: head.state.core().clone(),
            head,
            added: HashMap::new(),
            known: HashMap::new(),
            missing: Vec::new(),
            events: Vec::new(),
            create: None,
            context,
            nids: nids.into_iter(),
        }
    }

    /// Takes up events that were read for the write.
    pub(crate) fn with_known(mut self, known: HashMap<EventNid, Arc<Pdu>>) -> Self {
        self.known = known;
        self
    }

    /// The events that must be read before the write can be decided.
    pub(crate) fn missing(&self) -> &[EventNid] {
        &self.missing
    }

    /// The head, without the state that was appended.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The event of a type and state key in the current state.
    pub(crate) fn event(
        &mut self,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<Pdu>>, Error> {
        if let Some(pdu) = self.core.get(event_type, state_key) {
            return Ok(Some(pdu.clone()));
        }
        if let Some(event) = self.added.get(&key_text(event_type, state_key)) {
            return Ok(Some(event.pdu.clone()));
        }
        let Some(nid) = self.head.state.event_nid(event_type, state_key) else {
            return Ok(None);
        };
        self.event_by_nid(nid).map(Some)
    }

    fn event_by_nid(&mut self, nid: EventNid) -> Result<Arc<Pdu>, Error> {
        let mut appended = self.events.iter().map(|new| &new.event);
        if let Some(event) = appended.find(|event| event.nid == nid) {
            return Ok(event.pdu.clone());
        }
        let known = self.known.get(&nid).cloned();
        let found = known.or_else(|| self.context.cache.get(nid));
        if found.is_none() {
            self.missing.push(nid);
        }
        found.ok_or(Error::NotRead)
    }

    /// The number of the event of a type and state key in the current state.
    fn nid(&self, event_type: &str, state_key: &str) -> Option<EventNid> {
        match self.added.get(&key_text(event_type, state_key)) {
            Some(event) => Some(event.nid),
            None => self.head.state.event_nid(event_type, state_key),
        }
    }

    /// The state as far as the rules ask for it when they judge an event.
    fn rules_state(&mut self, event: &NewEvent) -> Result<State, Error> {
        #[derive(Deserialize)]
        struct Content {
            join_authorised_via_users_server: Option<String>,
        }
        let mut users = vec![event.sender.to_string()];
        if event.event_type == TimelineEventType::RoomMember {
            users.extend(event.state_key.clone());
            let content = serde_json::from_str::<Content>(event.content.get()).ok();
            users.extend(content.and_then(|content| content.join_authorised_via_users_server));
        }
        let found = users.iter().map(|user| self.event(MEMBER, user));
        // All of them, so that they are read together.
        let found: Vec<_> = found.collect();
        let mut state = self.core.clone();
        for member in found {
            if let Some(pdu) = member? {
                state.insert(pdu);
            }
        }
        Ok(state)
    }

    /// The hashes by which the next event names those that it follows and that authorise it; only
    /// room versions 1 and 2 want them.
    fn reference_hashes(
        &mut self,
        auth_events: &[Arc<Pdu>],
    ) -> Result<HashMap<OwnedEventId, String>, Error> {
        if !self.head.version.references_have_hashes() {
            return Ok(HashMap::new());
        }
        let parents: Vec<EventNid> = self.parents().map(|(nid, _)| *nid).collect();
        let parents = parents.into_iter().map(|nid| self.event_by_nid(nid));
        let parents: Vec<_> = parents.collect();
        let mut events = auth_events.to_vec();
        for parent in parents {
            events.push(parent?);
        }
        let version = &self.head.version;
        let hash = |pdu: &Arc<Pdu>| Ok((pdu.event_id().to_owned(), pdu.reference_hash(version)?));
        events.iter().map(hash).collect()
    }

    /// Makes the write set create the room.
    pub(crate) fn create(&mut self, room: NewRoom) {
        self.create = Some(room);
    }

    /// The room's id.
    pub(crate) fn room_id(&self) -> &OwnedRoomId {
        self.head.state.room_id()
    }

    /// Sets the room id, which room versions since 12 derive from the create event.
    pub(crate) fn set_room_id_from_create(&mut self, pdu: &Pdu) {
        Arc::make_mut(&mut self.head.state).set_room_id(pdu.room_id());
    }

    /// Builds the create event of a room, to be added with [`EventAppender::add`].
    pub(crate) fn build_create_event(&self, event: &NewEvent) -> Result<Pdu, Error> {
        let room_id = (!self.head.version.room_id_is_create_hash()).then(|| self.room_id().clone());
        let parents = Parents {
            depth: 1,
            ..Parents::default()
        };
        let draft = self.draft(event, room_id);
        Ok(draft.build(&self.head.version, parents, self.context.signer)?)
    }

    /// Builds, signs, checks and adds an event; returns its id.
    pub(crate) fn append(&mut self, event: NewEvent) -> Result<OwnedEventId, Error> {
        let prepared = self.prepare(&event)?;
        self.add(prepared.pdu, prepared.auth_nids, event)
    }

    /// Builds, signs and checks an event.
    pub(crate) fn prepare(&mut self, event: &NewEvent) -> Result<Prepared, Error> {
        // Other servers may send it, and it is kept; there is no use in it.
        let texts = [
            &*event.event_type.to_string(),
            event.state_key.as_deref().unwrap_or_default(),
        ]
        .map(|text| text.contains('\0'));
        if texts.contains(&true) {
            return Err(Error::BadContent(
                "`type` and `state_key` must not contain U+0000".to_owned(),
            ));
        }
        // The rules require it too, but their error would reveal to strangers that the room exists.
        let is_own_membership = event.event_type == TimelineEventType::RoomMember
            && event.state_key.as_deref() == Some(event.sender.as_str());
        if !is_own_membership {
            self.require_member(&event.sender)?;
        }
        if event.event_type == TimelineEventType::RoomRedaction && event.redacts.is_none() {
            return Err(Error::BadContent(
                "A redaction is a message event that names its target in `redacts`".to_owned(),
            ));
        }
        if let Some(redaction) = &event.redacts {
            self.check_redaction(&event.sender, redaction)?;
        }
        let state = self.rules_state(event)?;
        let auth_events = auth::select_auth_events(
            &self.head.version,
            &state,
            &event.event_type,
            &event.sender,
            event.state_key.as_deref(),
            &event.content,
        )?;
        let reference_hashes = self.reference_hashes(&auth_events)?;
        let version = &self.head.version;
        let parents = Parents {
            prev_events: self.parents().map(|(_, id)| id.clone()).collect(),
            auth_events: auth_events
                .iter()
                .map(|pdu| pdu.event_id().to_owned())
                .collect(),
            reference_hashes,
            depth: self.head.state.depth().saturating_add(1),
        };
        let draft = self.draft(event, Some(self.room_id().clone()));
        let pdu = draft.build(version, parents.clone(), self.context.signer)?;
        auth::check_local(version, &pdu, &state)?;
        let auth_nids = auth_events
            .iter()
            .filter_map(|pdu| self.nid(pdu.event_type(), pdu.state_key()?))
            .collect();
        Ok(Prepared {
            pdu: Arc::new(pdu),
            parents,
            auth_nids,
        })
    }

    /// The rules let every redaction in that its sender may send; whether it takes effect is for
    /// each server to judge. One without effect is refused here, by the levels that hold now.
    fn check_redaction(&self, sender: &UserId, redaction: &Redaction) -> Result<(), Error> {
        let levels = PowerLevels::of(&self.core, &self.head.version);
        if levels.can_redact_others(sender) {
            return Ok(());
        }
        match &redaction.known {
            Some(target) if target.sender == sender => Ok(()),
            Some(_) => Err(Error::Forbidden(
                "You may not redact what others sent in this room",
            )),
            None => Err(Error::UnknownEvent),
        }
    }

    /// Adds an event that has been built and checked.
    pub(crate) fn add(
        &mut self,
        pdu: Arc<Pdu>,
        auth_nids: Vec<EventNid>,
        event: NewEvent,
    ) -> Result<OwnedEventId, Error> {
        let nid = EventNid(self.next_nid()?);
        let event_id = pdu.event_id().to_owned();
        let parents = self.parents().map(|(nid, event_id)| Parent {
            nid: Some(*nid),
            event_id: event_id.clone(),
        });
        let parents: Vec<Parent> = parents.collect();
        let replaces = self.apply_state_event(nid, &pdu)?;
        Arc::make_mut(&mut self.head.state).append(nid, &pdu, parents.len());
        let (redacts, awaits) = match event.redacts {
            Some(Redaction { target, known }) => match known {
                Some(known) => (Some(known.redacted), None),
                None => (None, Some(target)),
            },
            None => (None, None),
        };
        if let Some(redacted) = &redacts {
            self.apply_redaction(&redacted.pdu);
        }
        self.events.push(rooms::NewEvent {
            event: StoredEvent {
                nid,
                room_nid: self.head.room_nid,
                position: None,
                history_order: None,
                pdu,
                snapshot_nid: None,
                replaces,
                redacted_because: None,
                auth_nids,
                after_gap: false,
                has_relations: false,
                transaction: event.transaction,
            },
            placement: Placement::Timeline,
            parents,
            may_be_missed: false,
            redacts,
            awaits,
            original: None,
            delta: Vec::new(),
        });
        Ok(event_id)
    }

    /// The events that the next one follows: as many of the forward extremities as it may name.
    fn parents(&self) -> impl Iterator<Item = &(EventNid, OwnedEventId)> {
        let extremities = self.head.state.extremities().iter();
        extremities.take(MAX_PREV_EVENTS)
    }

    fn next_nid(&mut self) -> Result<i64, Error> {
        let nid = self.nids.next();
        Ok(nid.ok_or_else(|| {
            storage::Error::Corrupt("more events than ids were allocated for".to_owned())
        })?)
    }

    /// Replaces a redacted event in the current state by its redacted form.
    fn apply_redaction(&mut self, redacted: &Arc<Pdu>) {
        let state_key = redacted.state_key().unwrap_or_default();
        let present = self.core.get(redacted.event_type(), state_key);
        if present.is_some_and(|present| present.event_id() == redacted.event_id()) {
            self.core.insert(redacted.clone());
            Arc::make_mut(&mut self.head.state).redact(redacted);
        }
    }

    /// Puts a state event into the state; returns what it replaces.
    fn apply_state_event(
        &mut self,
        nid: EventNid,
        pdu: &Arc<Pdu>,
    ) -> Result<Option<Replaced>, Error> {
        let Some(state_key) = pdu.state_key() else {
            return Ok(None);
        };
        let replaced = self.event(pdu.event_type(), state_key)?;
        let replaced_nid = self.nid(pdu.event_type(), state_key);
        if is_core(pdu) {
            self.core.insert(pdu.clone());
        }
        let event = StateEvent {
            nid,
            pdu: pdu.clone(),
        };
        self.added
            .insert(key_text(pdu.event_type(), state_key), event);
        let replaced = replaced.zip(replaced_nid);
        Ok(replaced.map(|(pdu, nid)| Replaced { nid, pdu }))
    }

    /// Fails if the user is not in the room, with the error for a room that does not exist.
    fn require_member(&self, user_id: &UserId) -> Result<(), Error> {
        let added = self.added.get(&key_text(MEMBER, user_id.as_str()));
        match added.map(|event| event.pdu.membership()) {
            Some(Some(MembershipState::Join)) => Ok(()),
            Some(_) => Err(Error::NotInRoom),
            None => self.head.require_member(user_id),
        }
    }

    fn draft(&self, event: &NewEvent, room_id: Option<OwnedRoomId>) -> Draft {
        Draft {
            room_id,
            sender: event.sender.clone(),
            event_type: event.event_type.clone(),
            state_key: event.state_key.clone(),
            content: event.content.clone(),
            redacts: event
                .redacts
                .as_ref()
                .map(|redaction| redaction.target.clone()),
            origin_server_ts: self.context.now,
        }
    }

    /// The events that were added, to be added in another way.
    pub(crate) fn into_events(self) -> impl Iterator<Item = StoredEvent> {
        self.events.into_iter().map(|new| new.event)
    }

    /// Whether no event was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What is to be written, and the head afterwards. No query unless the room gets state keys
    /// that no room had lately, or the layers of its state are not known.
    pub(crate) async fn finish(
        mut self,
        database: &Database,
        keys: &StateKeys,
    ) -> Result<(WriteSet, Head), Error> {
        let states = self.events.iter();
        let states: Vec<_> = states.filter_map(|new| state_key(&new.event.pdu)).collect();
        let has_state = !states.is_empty();
        let keys = keys.ids(states).await?;
        if has_state && !self.head.state.has_layers() {
            self.read_layers(database).await?;
        }
        let mut events = std::mem::take(&mut self.events);
        let mut snapshots = Vec::new();
        let names_by_hash = self.head.version.references_have_hashes();
        for new in &mut events {
            // The next write asks for it. If it is not committed, nobody asks for its number.
            if new.event.pdu.is_state() || names_by_hash {
                self.context.cache.insert(&state_event(&new.event));
            }
            let key = state_key(&new.event.pdu).and_then(|key| keys.get(&key).copied());
            if let Some(key) = key {
                new.delta.push(change(key, &new.event));
                snapshots.push(self.append_state(key, &new.event)?);
            }
            new.event.snapshot_nid = self.head.state.snapshot_nid();
        }
        let state = Arc::make_mut(&mut self.head.state);
        if !events.is_empty() {
            state.advance_revision();
        }
        let room = RoomWrite {
            room_nid: self.head.room_nid,
            expected: self.expected,
            next: state.head(),
            events,
            snapshots,
            layers: state.layers().cloned(),
            create: self.create,
            recheck: None,
            partial: None,
        };
        let set = WriteSet {
            room: Some(room),
            ..WriteSet::default()
        };
        Ok((set, self.head))
    }

    /// Puts an event into the state of the head, and plans the snapshot of it.
    fn append_state(&mut self, key: StateKeyNid, new: &StoredEvent) -> Result<NewSnapshot, Error> {
        let snapshot_nid = SnapshotNid(self.next_nid()?);
        let state = Arc::make_mut(&mut self.head.state);
        Ok(state.append_state(snapshot_nid, key, &state_event(new)))
    }

    async fn read_layers(&mut self, database: &Database) -> Result<(), Error> {
        let snapshot = self.head.state.snapshot_nid().unwrap_or_default();
        let mut db = database.acquire().await?;
        let layers = snapshots::read_layers(&mut db, snapshot).await?;
        let missing = || storage::Error::Corrupt(format!("there is no snapshot {snapshot:?}"));
        let layers = layers.ok_or_else(missing)?;
        Arc::make_mut(&mut self.head.state).set_layers(layers);
        Ok(())
    }
}

/// The events that a set redacts, with what is left of them.
pub(crate) fn redactions(set: &WriteSet) -> Vec<(EventNid, Arc<Pdu>)> {
    let events = set.room.iter().flat_map(|room| &room.events);
    let redacted = events.filter_map(|new| new.redacts.as_ref());
    redacted
        .map(|redacted| (redacted.event_nid, redacted.pdu.clone()))
        .collect()
}

fn state_event(event: &StoredEvent) -> StateEvent {
    StateEvent {
        nid: event.nid,
        pdu: event.pdu.clone(),
    }
}

fn key_text(event_type: &str, state_key: &str) -> StateKeyText {
    (event_type.to_owned(), state_key.to_owned())
}

fn state_key(pdu: &Pdu) -> Option<StateKeyText> {
    Some((pdu.event_type().to_owned(), pdu.state_key()?.to_owned()))
}

/// What a state event changes in the state that it is appended to.
fn change(key: StateKeyNid, event: &StoredEvent) -> StateChange {
    StateChange {
        key,
        from: event.replaces.as_ref().map(|replaced| StateEvent {
            nid: replaced.nid,
            pdu: replaced.pdu.clone(),
        }),
        to: Some(state_event(event)),
    }
}

#[cfg(test)]
mod tests;
