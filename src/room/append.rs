//! Appending events to a room's graph; nothing else does.

use std::sync::Arc;

use event::{Draft, MAX_PREV_EVENTS, Parents, Pdu, PowerLevels, Signer, auth};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, UserId, events::TimelineEventType,
};
use serde_json::value::RawValue;
use storage::{
    StateKeys, StoredEvent, Transaction,
    committer::WriteSet,
    events::Replaced,
    rooms::{self, HeadVersion, NewRoom, Parent, Placement, RoomHead, RoomWrite},
    state_keys::StateKeyText,
    stream::{Redacted, StateChange, StateEvent},
};
use types::{EventNid, SnapshotNid, StateKeyNid};

use crate::{Error, head::Head};

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
    pub(crate) target_sender: OwnedUserId,
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

/// Numbers that an event may take: its own, and that of a snapshot.
const NIDS_PER_EVENT: usize = 2;

/// Appends events to a room head and collects the rows to write.
#[derive(Debug)]
pub(crate) struct EventAppender<'a> {
    head: Head,
    expected: HeadVersion,
    events: Vec<rooms::NewEvent>,
    create: Option<NewRoom>,
    signer: &'a Signer,
    now: MilliSecondsSinceUnixEpoch,
    nids: std::vec::IntoIter<i64>,
}

/// How many numbers must be allocated to append so many events.
pub(crate) fn nids_for(events: usize) -> usize {
    NIDS_PER_EVENT * events
}

impl<'a> EventAppender<'a> {
    /// Takes up a head; `nids` holds as many numbers as [`nids_for`] the events to come.
    pub(crate) fn new(
        head: Head,
        signer: &'a Signer,
        now: MilliSecondsSinceUnixEpoch,
        nids: Vec<i64>,
    ) -> Self {
        Self {
            expected: head.head_version(),
            head,
            events: Vec::new(),
            create: None,
            signer,
            now,
            nids: nids.into_iter(),
        }
    }

    /// The head with the events appended so far.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Makes the write set create the room.
    pub(crate) fn create(&mut self, room: NewRoom) {
        self.create = Some(room);
    }

    /// Sets the room id, which room versions since 12 derive from the create event.
    pub(crate) fn set_room_id_from_create(&mut self, pdu: &Pdu) {
        pdu.room_id().clone_into(&mut self.head.room_id);
    }

    /// Builds the create event of a room, to be added with [`EventAppender::add`].
    pub(crate) fn build_create_event(&self, event: &NewEvent) -> Result<Pdu, Error> {
        let room_id =
            (!self.head.version.room_id_is_create_hash()).then(|| self.head.room_id.clone());
        let parents = Parents {
            depth: 1,
            ..Parents::default()
        };
        Ok(self
            .draft(event, room_id)
            .build(&self.head.version, parents, self.signer)?)
    }

    /// Builds, signs, checks and adds an event; returns its id.
    pub(crate) fn append(&mut self, event: NewEvent) -> Result<OwnedEventId, Error> {
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
            self.head.require_member(&event.sender)?;
        }
        if event.event_type == TimelineEventType::RoomRedaction && event.redacts.is_none() {
            return Err(Error::BadContent(
                "A redaction is a message event that names its target in `redacts`".to_owned(),
            ));
        }
        if let Some(redaction) = &event.redacts {
            self.check_redaction(&event.sender, redaction)?;
        }
        let version = &self.head.version;
        let auth_events = auth::select_auth_events(
            version,
            &self.head.state,
            &event.event_type,
            &event.sender,
            event.state_key.as_deref(),
            &event.content,
        )?;
        let parents = Parents {
            prev_events: self.parents().map(|(_, id)| id.clone()).collect(),
            auth_events: auth_events
                .iter()
                .map(|pdu| pdu.event_id().to_owned())
                .collect(),
            reference_hashes: self.head.reference_hashes(&auth_events)?,
            depth: self.head.depth.saturating_add(1),
        };
        let draft = self.draft(&event, Some(self.head.room_id.clone()));
        let pdu = draft.build(version, parents, self.signer)?;
        auth::check_local(version, &pdu, &self.head.state)?;
        let auth_nids = auth_events
            .iter()
            .filter_map(|pdu| self.head.nid(pdu))
            .collect();
        self.add(Arc::new(pdu), auth_nids, event)
    }

    /// The rules let every redaction in that its sender may send; whether it takes effect is for
    /// each server to judge. One without effect is refused here, by the levels that hold now.
    fn check_redaction(&self, sender: &UserId, redaction: &Redaction) -> Result<(), Error> {
        let levels = PowerLevels::of(&self.head.state, &self.head.version);
        if redaction.target_sender == sender || levels.can_redact_others(sender) {
            return Ok(());
        }
        Err(Error::Forbidden(
            "You may not redact what others sent in this room",
        ))
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
        let replaces = pdu
            .is_state()
            .then(|| self.apply_state_event(nid, &pdu))
            .flatten();
        self.head.depth = pdu.depth();
        // Extremities that the event does not name stay; a later event names them.
        self.head.extremities.drain(..parents.len());
        self.head.insert_extremity(nid, &pdu)?;
        let redacts = event.redacts.map(|redaction| redaction.redacted);
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
                transaction: event.transaction,
            },
            placement: Placement::Timeline,
            parents,
            may_be_missed: false,
            redacts,
            delta: Vec::new(),
        });
        Ok(event_id)
    }

    /// The events that the next one follows: as many of the forward extremities as it may name.
    fn parents(&self) -> impl Iterator<Item = &(EventNid, OwnedEventId)> {
        self.head.extremities.iter().take(MAX_PREV_EVENTS)
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
        let present = self.head.state.get(redacted.event_type(), state_key);
        if present.is_some_and(|present| present.event_id() == redacted.event_id()) {
            self.head.insert_state(redacted);
        }
    }

    /// Puts a state event into the state; returns what it replaces.
    fn apply_state_event(&mut self, nid: EventNid, pdu: &Arc<Pdu>) -> Option<Replaced> {
        let replaced = self.head.insert_state(pdu);
        let replaces = replaced.and_then(|old| {
            let nid = self.head.nids.remove(old.event_id())?;
            Some(Replaced { nid, pdu: old })
        });
        self.head.nids.insert(pdu.event_id().to_owned(), nid);
        replaces
    }

    fn draft(&self, event: &NewEvent, room_id: Option<ruma::OwnedRoomId>) -> Draft {
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
            origin_server_ts: self.now,
        }
    }

    /// Whether no event was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What is to be written, and the head afterwards. No query unless the room gets state keys
    /// that no room had lately.
    pub(crate) async fn finish(mut self, keys: &StateKeys) -> Result<(WriteSet, Head), Error> {
        let states = self.events.iter();
        let states = states.filter_map(|new| state_key(&new.event.pdu));
        let keys = keys.ids(states).await?;
        let mut events = std::mem::take(&mut self.events);
        let mut snapshots = Vec::new();
        for new in &mut events {
            let key = state_key(&new.event.pdu).and_then(|key| keys.get(&key).copied());
            if let Some(key) = key {
                let snapshot_nid = SnapshotNid(self.next_nid()?);
                new.delta.push(change(key, &new.event));
                let nid = new.event.nid;
                snapshots.push(self.head.set_entry(snapshot_nid, key, nid));
            }
            new.event.snapshot_nid = self.head.snapshot_nid();
        }
        self.head.revision += 1;
        let next = RoomHead {
            version: self.head.head_version(),
            depth: self.head.depth as i64,
            snapshot_nid: self.head.snapshot_nid().unwrap_or_default(),
        };
        let room = RoomWrite {
            room_nid: self.head.room_nid,
            expected: self.expected,
            next,
            events,
            snapshots,
            layers: None,
            create: self.create,
        };
        let set = WriteSet {
            room: Some(room),
            ..WriteSet::default()
        };
        Ok((set, self.head))
    }
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
        to: Some(StateEvent {
            nid: event.nid,
            pdu: event.pdu.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
