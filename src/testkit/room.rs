//! Rooms without the `room` crate: events are built, signed and committed unchecked.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use event::{
    Draft, Parents, Pdu, RoomVersion, Signer, State, auth,
    layers::{Chain, Digest, StateSource},
};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedEventId, OwnedRoomId, UInt, UserId,
    events::TimelineEventType,
};
use serde_json::{Value, json};
use storage::{
    StateKeys, StoredEvent, Transaction, UserChange,
    committer::WriteSet,
    events::Replaced,
    rooms::{HeadVersion, NewEvent, NewRoom, Parent, Placement, RoomHead, RoomWrite},
    snapshots::{Layers, NewSnapshot},
    stream::{Receipt, Redacted, StateChange, StateEvent},
};
use types::{EventNid, RoomNid, SnapshotNid, StateKeyNid, StreamPosition};

use crate::{Writer, register_device, server_name};

/// A room of a test. Events are not authorised.
#[derive(Debug)]
pub struct TestRoom {
    /// Its nid.
    pub room_nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    version: RoomVersion,
    signer: Signer,
    state: State,
    nids: HashMap<OwnedEventId, EventNid>,
    last: Option<(EventNid, OwnedEventId)>,
    entries: Entries,
    chain: Chain,
    digest: Digest,
    depth: u64,
    revision: i64,
}

/// A state as numbers.
#[derive(Debug, Default)]
struct Entries(BTreeMap<StateKeyNid, EventNid>);

impl StateSource for Entries {
    fn event(&self, key: StateKeyNid) -> Option<EventNid> {
        self.0.get(&key).copied()
    }

    fn all(&self) -> Vec<(StateKeyNid, EventNid)> {
        self.0.iter().map(|(key, event)| (*key, *event)).collect()
    }
}

/// An event to send.
#[derive(Debug, Default)]
struct EventSpec<'a> {
    event_type: &'a str,
    state_key: Option<&'a str>,
    content: Value,
    redacts: Option<OwnedEventId>,
    device_id: Option<OwnedDeviceId>,
}

impl TestRoom {
    /// A public room with shared history that its creator has joined: four state events.
    pub async fn create(db: &Writer, creator: &UserId) -> Self {
        let (signer, _) = Signer::generate(&server_name()).expect("a key");
        let room_nid = RoomNid(db.nids.allocate_one().await.expect("a number"));
        let mut room = Self {
            room_nid,
            room_id: OwnedRoomId::try_from("!unknown").expect("an id"),
            version: RoomVersion::default_version(),
            signer,
            state: State::new(),
            nids: HashMap::new(),
            last: None,
            entries: Entries::default(),
            chain: Chain::default(),
            digest: Digest::default(),
            depth: 0,
            revision: 0,
        };
        room.state(
            db,
            creator,
            "m.room.create",
            "",
            json!({ "room_version": "12", "org.test.number": room_nid }),
        )
        .await;
        room.member(db, creator, creator, "join").await;
        room.state(
            db,
            creator,
            "m.room.join_rules",
            "",
            json!({ "join_rule": "public" }),
        )
        .await;
        let shared = json!({ "history_visibility": "shared" });
        room.state(db, creator, "m.room.history_visibility", "", shared)
            .await;
        room
    }

    /// Sends a text message.
    pub async fn message(&mut self, db: &Writer, sender: &UserId, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body });
        self.send(
            db,
            sender,
            EventSpec {
                event_type: "m.room.message",
                content,
                ..EventSpec::default()
            },
        )
        .await
    }

    /// Sends an event that is not state.
    pub async fn event(
        &mut self,
        db: &Writer,
        sender: &UserId,
        event_type: &str,
        content: Value,
    ) -> OwnedEventId {
        let spec = EventSpec {
            event_type,
            content,
            ..EventSpec::default()
        };
        self.send(db, sender, spec).await
    }

    /// A receipt of a user for an event; unthreaded when `thread_id` is empty.
    pub async fn receipt(
        &self,
        db: &Writer,
        user_id: &UserId,
        receipt_type: &str,
        thread_id: &str,
        event_id: &OwnedEventId,
    ) -> UserChange {
        let mut connection = db.database.acquire().await.expect("the database answers");
        let orders = storage::receipts::orders(&mut connection, self.room_nid, &[event_id])
            .await
            .expect("the database answers");
        UserChange::Receipt(Receipt {
            room_nid: self.room_nid,
            user_id: user_id.to_owned(),
            receipt_type: receipt_type.to_owned(),
            thread_id: thread_id.to_owned(),
            event_id: event_id.clone(),
            event_order: orders.get(event_id).copied(),
            ts: 7,
        })
    }

    /// Sends a text message as a device does; the body is also the transaction id.
    pub async fn message_from(
        &mut self,
        db: &Writer,
        sender: &UserId,
        device_id: &str,
        body: &str,
    ) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body });
        let device_id = Some(OwnedDeviceId::from(device_id));
        let spec = EventSpec {
            event_type: "m.room.message",
            content,
            device_id,
            ..EventSpec::default()
        };
        self.send(db, sender, spec).await
    }

    /// Sets state.
    pub async fn state(
        &mut self,
        db: &Writer,
        sender: &UserId,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> OwnedEventId {
        let spec = EventSpec {
            event_type,
            state_key: Some(state_key),
            content,
            ..EventSpec::default()
        };
        self.send(db, sender, spec).await
    }

    /// Sets a user's membership.
    pub async fn member(
        &mut self,
        db: &Writer,
        sender: &UserId,
        target: &UserId,
        membership: &str,
    ) -> OwnedEventId {
        let content = json!({ "membership": membership });
        self.state(db, sender, "m.room.member", target.as_str(), content)
            .await
    }

    /// Redacts an event that is not state.
    pub async fn redact(
        &mut self,
        db: &Writer,
        sender: &UserId,
        target: &OwnedEventId,
    ) -> OwnedEventId {
        let redacts = Some(target.clone());
        let content = json!({});
        let event_type = "m.room.redaction";
        self.send(
            db,
            sender,
            EventSpec {
                event_type,
                content,
                redacts,
                ..EventSpec::default()
            },
        )
        .await
    }

    async fn send(&mut self, db: &Writer, sender: &UserId, spec: EventSpec<'_>) -> OwnedEventId {
        let nid = EventNid(db.nids.allocate_one().await.expect("a number"));
        let pdu = self.build(sender, &spec);
        if self.last.is_none() {
            self.room_id = pdu.room_id().clone();
        }
        let expected = self.version_of_head();
        let redacts = self.redacted(db, spec.redacts.as_ref()).await;
        let (parents, event) = self.append(nid, &pdu, spec.device_id);
        let transaction = event.transaction.as_ref();
        if let Some(device_id) = transaction.and_then(|sent| sent.device_id.as_ref()) {
            register_device(&db.database, sender, device_id).await;
        }
        let mut new = NewEvent {
            event,
            placement: Placement::Timeline,
            parents,
            may_be_missed: false,
            redacts,
            delta: Vec::new(),
        };
        let mut snapshots = Vec::new();
        if pdu.is_state() {
            snapshots.push(self.set_state(db, &mut new).await);
        }
        new.event.snapshot_nid = self.chain.snapshot_nid();
        let create = (self.revision == 0).then(|| NewRoom {
            room_id: self.room_id.clone(),
            version: self.version.id().clone(),
            creator: sender.to_owned(),
            in_directory: false,
            alias: None,
        });
        self.revision += 1;
        let next = RoomHead {
            version: self.version_of_head(),
            depth: self.depth as i64,
            snapshot_nid: self.chain.snapshot_nid().unwrap_or_default(),
        };
        let room = RoomWrite {
            room_nid: self.room_nid,
            expected,
            next,
            events: vec![new],
            snapshots,
            layers: Some(Layers {
                chain: self.chain.clone(),
                digest: self.digest,
            }),
            create,
        };
        let set = WriteSet {
            room: Some(room),
            ..WriteSet::default()
        };
        commit(db, set).await;
        pdu.event_id().clone()
    }

    fn version_of_head(&self) -> HeadVersion {
        HeadVersion {
            revision: self.revision,
            extremities: self.last.iter().map(|(nid, _)| *nid).collect(),
        }
    }

    /// Puts a state event into the state as numbers.
    async fn set_state(&mut self, db: &Writer, new: &mut NewEvent) -> NewSnapshot {
        let pdu = &new.event.pdu;
        let text = (
            pdu.event_type().to_owned(),
            pdu.state_key().unwrap_or_default().to_owned(),
        );
        let keys = StateKeys::new(db.database.clone());
        let key = keys
            .ids([text.clone()])
            .await
            .expect("the database answers")[&text];
        let event = |nid, pdu: &Arc<Pdu>| StateEvent {
            nid,
            pdu: pdu.clone(),
        };
        let replaces = new.event.replaces.as_ref();
        new.delta.push(StateChange {
            key,
            from: replaces.map(|replaced| event(replaced.nid, &replaced.pdu)),
            to: Some(event(new.event.nid, pdu)),
        });
        if let Some(before) = self.entries.0.insert(key, new.event.nid) {
            self.digest.remove(key, before);
        }
        self.digest.insert(key, new.event.nid);
        let nid = SnapshotNid(db.nids.allocate_one().await.expect("a number"));
        let layer = self.chain.push(nid, [key], &self.entries);
        NewSnapshot {
            nid,
            parent: layer.parent,
            depth: layer.depth as i16,
            entries: layer.entries,
            digest: self.digest,
            is_partial: false,
        }
    }

    fn build(&self, sender: &UserId, spec: &EventSpec<'_>) -> Arc<Pdu> {
        let content = serde_json::value::to_raw_value(&spec.content).expect("JSON");
        let event_type = TimelineEventType::from(spec.event_type);
        let auth_events = auth::select_auth_events(
            &self.version,
            &self.state,
            &event_type,
            sender,
            spec.state_key,
            &content,
        )
        .expect("a well-formed event");
        let parents = Parents {
            prev_events: self
                .last
                .iter()
                .map(|(_, event_id)| event_id.clone())
                .collect(),
            auth_events: auth_events
                .iter()
                .map(|pdu| pdu.event_id().clone())
                .collect(),
            depth: self.depth + 1,
            ..Parents::default()
        };
        let draft = Draft {
            room_id: self.last.is_some().then(|| self.room_id.clone()),
            sender: sender.to_owned(),
            event_type,
            state_key: spec.state_key.map(ToOwned::to_owned),
            content,
            redacts: spec.redacts.clone(),
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::from(
                1_000_000_u32 + self.depth as u32,
            )),
        };
        Arc::new(
            draft
                .build(&self.version, parents, &self.signer)
                .expect("a well-formed event"),
        )
    }

    /// Appends an event to the room.
    fn append(
        &mut self,
        nid: EventNid,
        pdu: &Arc<Pdu>,
        device_id: Option<OwnedDeviceId>,
    ) -> (Vec<Parent>, StoredEvent) {
        let transaction = device_id.map(|device_id| Transaction {
            device_id: Some(device_id),
            target: None,
            id: pdu.content_as::<Value>().expect("an object")["body"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        });
        let parents = self.last.iter().map(|(nid, event_id)| Parent {
            nid: Some(*nid),
            event_id: event_id.clone(),
        });
        let parents = parents.collect();
        let mut replaces = None;
        self.depth += 1;
        self.last = Some((nid, pdu.event_id().clone()));
        if pdu.is_state() {
            let old = self.state.insert(pdu.clone());
            replaces = old.map(|pdu| Replaced {
                nid: self.nids[pdu.event_id()],
                pdu,
            });
            self.nids.insert(pdu.event_id().clone(), nid);
        }
        let event = StoredEvent {
            nid,
            room_nid: self.room_nid,
            position: None,
            history_order: None,
            pdu: pdu.clone(),
            snapshot_nid: None,
            replaces,
            redacted_because: None,
            auth_nids: Vec::new(),
            transaction,
        };
        (parents, event)
    }

    async fn redacted(&self, db: &Writer, target: Option<&OwnedEventId>) -> Option<Redacted> {
        let target = target?;
        let mut connection = db.database.acquire().await.expect("the database answers");
        let found = storage::events::find(&mut connection, self.room_nid, target)
            .await
            .expect("the database answers")
            .expect("the event is there");
        let left = event::redact(&self.version, &found.pdu).expect("a well-formed event");
        Some(Redacted {
            event_nid: found.nid,
            history_order: found.history_order,
            pdu: Arc::new(left),
        })
    }
}

/// Commits changes outside room heads.
pub async fn commit_changes(
    db: &Writer,
    changes: impl IntoIterator<Item = UserChange>,
) -> StreamPosition {
    commit(
        db,
        WriteSet {
            changes: changes.into_iter().collect(),
            ..WriteSet::default()
        },
    )
    .await
}

async fn commit(db: &Writer, set: WriteSet) -> StreamPosition {
    db.committer
        .submit(set)
        .await
        .durable()
        .await
        .expect("the write set is committed")
}
