//! Appending events to a room's graph; nothing else does.

use std::sync::Arc;

use event::{Draft, Parents, Pdu, Signer, auth};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, events::TimelineEventType};
use serde_json::value::RawValue;
use storage::{
    Change, Changes, StoredEvent, Transaction, Verdict,
    committer::WriteSet,
    events::Replaced,
    rooms::{NewRoom, NewSnapshot, RoomWrite},
    stream::{EventChange, Redacted},
};
use types::{EventNid, SnapshotNid, StreamPosition};

use crate::{
    Error,
    head::{Head, Layer},
};

/// An event that a local user or the server wants to send.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: TimelineEventType,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Box<RawValue>,
    /// The event that this one redacts, and its redacted form.
    pub(crate) redacts: Option<(OwnedEventId, Option<Redacted>)>,
    pub(crate) transaction: Option<Transaction>,
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

/// Appends events to a room head and collects the rows to write.
#[derive(Debug)]
pub(crate) struct EventAppender<'a> {
    head: Head,
    expected_revision: i64,
    expected_extremities: Vec<EventNid>,
    changes: Changes,
    snapshots: Vec<NewSnapshot>,
    create: Option<NewRoom>,
    signer: &'a Signer,
    now: MilliSecondsSinceUnixEpoch,
    nids: std::vec::IntoIter<i64>,
}

impl<'a> EventAppender<'a> {
    /// Starts at a head; `nids` holds an id for each event to be appended.
    pub(crate) fn new(
        head: Head,
        signer: &'a Signer,
        now: MilliSecondsSinceUnixEpoch,
        nids: Vec<i64>,
    ) -> Self {
        Self {
            expected_revision: head.revision,
            expected_extremities: head.extremities.iter().map(|(nid, _)| *nid).collect(),
            head,
            changes: Changes::new(),
            snapshots: Vec::new(),
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
            prev_events: self
                .head
                .extremities
                .iter()
                .map(|(_, id)| id.clone())
                .collect(),
            auth_events: auth_events
                .iter()
                .map(|pdu| pdu.event_id().to_owned())
                .collect(),
            depth: self.head.depth + 1,
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

    /// Adds an event that has been built and checked.
    pub(crate) fn add(
        &mut self,
        pdu: Arc<Pdu>,
        auth_nids: Vec<EventNid>,
        event: NewEvent,
    ) -> Result<OwnedEventId, Error> {
        let nid = EventNid(self.nids.next().ok_or_else(|| {
            storage::Error::Corrupt("more events than ids were allocated for".to_owned())
        })?);
        let event_id = pdu.event_id().to_owned();
        let prev_nids = self.head.extremities.iter().map(|(nid, _)| *nid).collect();
        let replaces = pdu
            .is_state()
            .then(|| self.apply_state_event(nid, &pdu))
            .flatten();
        self.head.depth = pdu.depth();
        self.head.extremities = vec![(nid, event_id.clone())];
        let current = pdu.is_state();
        let redacts = event.redacts.and_then(|(_, redacted)| redacted);
        if let Some(redacted) = &redacts {
            self.apply_redaction(&redacted.pdu);
        }
        self.changes.push(Change::Event(EventChange {
            event: StoredEvent {
                nid,
                room_nid: self.head.room_nid,
                position: StreamPosition::default(),
                pdu,
                verdict: Verdict::Accepted,
                snapshot_nid: self.head.snapshot_nid(),
                replaces,
                redacted_because: None,
                prev_nids,
                auth_nids,
                transaction: event.transaction,
            },
            current,
            redacts,
        }));
        Ok(event_id)
    }

    /// Replaces a redacted event in the current state by its redacted form.
    fn apply_redaction(&mut self, redacted: &Arc<Pdu>) {
        let state_key = redacted.state_key().unwrap_or_default();
        let present = self.head.state.get(redacted.event_type(), state_key);
        if present.is_some_and(|present| present.event_id() == redacted.event_id()) {
            self.head.state.insert(redacted.clone());
        }
    }

    /// Applies a state event to the state and its snapshot layers; returns the event that it replaces.
    ///
    /// Every layer is more than twice as large as the one above it; those that are not are merged.
    /// So a state of n events is at most log n layers deep, and an event is rewritten about log n
    /// times while it is current.
    fn apply_state_event(&mut self, nid: EventNid, pdu: &Arc<Pdu>) -> Option<Replaced> {
        let replaced = self.head.state.insert(pdu.clone());
        let replaces = replaced.and_then(|old| {
            let nid = self.head.nids.remove(old.event_id())?;
            Some(Replaced { nid, pdu: old })
        });
        self.head.nids.insert(pdu.event_id().to_owned(), nid);
        let mut events = vec![(nid, pdu.event_id().to_owned())];
        while let Some(below) = self
            .head
            .layers
            .pop_if(|below| below.events.len() <= 2 * events.len())
        {
            let still_current = below
                .events
                .iter()
                .filter(|(_, id)| self.head.nids.contains_key(id))
                .cloned();
            events.extend(still_current);
        }
        let parent = self.head.layers.last().map(|layer| layer.nid);
        let snapshot_nid = SnapshotNid(nid.get());
        self.snapshots.push(NewSnapshot {
            nid: snapshot_nid,
            parent,
            depth: self.head.layers.len() as i16,
            events: events.iter().map(|(nid, _)| *nid).collect(),
        });
        self.head.layers.push(Arc::new(Layer {
            nid: snapshot_nid,
            events,
        }));
        replaces
    }

    fn draft(&self, event: &NewEvent, room_id: Option<ruma::OwnedRoomId>) -> Draft {
        Draft {
            room_id,
            sender: event.sender.clone(),
            event_type: event.event_type.clone(),
            state_key: event.state_key.clone(),
            content: event.content.clone(),
            redacts: event.redacts.as_ref().map(|(event_id, _)| event_id.clone()),
            origin_server_ts: self.now,
        }
    }

    /// Whether no event was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The write set, and the head after it.
    pub(crate) fn finish(mut self) -> (WriteSet, Head) {
        self.head.revision = self.expected_revision + 1;
        let room = RoomWrite {
            room_nid: self.head.room_nid,
            expected_revision: self.expected_revision,
            expected_extremities: self.expected_extremities,
            extremities: self.head.extremities.iter().map(|(nid, _)| *nid).collect(),
            depth: self.head.depth as i64,
            snapshot_nid: self.head.snapshot_nid(),
            snapshots: self.snapshots,
            create: self.create,
        };
        (
            WriteSet {
                room: Some(room),
                changes: self.changes,
            },
            self.head,
        )
    }
}
