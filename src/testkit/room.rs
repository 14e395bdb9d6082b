//! Rooms without the `room` crate: events are built, signed and committed unchecked.

use std::{collections::HashMap, sync::Arc};

use event::{Draft, Parents, Pdu, RoomVersion, Signer, State, auth};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedEventId, OwnedRoomId, UInt, UserId,
    events::TimelineEventType,
};
use serde_json::{Value, json};
use storage::{
    Change, Changes, StoredEvent, Transaction, Verdict,
    committer::WriteSet,
    events::Replaced,
    rooms::{NewRoom, NewSnapshot, RoomWrite},
    stream::{EventChange, Receipt, Redacted},
};
use types::{EventNid, RoomNid, SnapshotNid, StreamPosition};

use crate::{Writer, server_name};

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
    snapshot_nid: SnapshotNid,
    depth: u64,
    revision: i64,
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
            snapshot_nid: SnapshotNid(0),
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
    ) -> Change {
        let mut connection = db.database.acquire().await.expect("the database answers");
        let positions = storage::receipts::positions(&mut connection, self.room_nid, &[event_id])
            .await
            .expect("the database answers");
        Change::Receipt(Receipt {
            room_nid: self.room_nid,
            user_id: user_id.to_owned(),
            receipt_type: receipt_type.to_owned(),
            thread_id: thread_id.to_owned(),
            event_id: event_id.clone(),
            event_position: positions[event_id],
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
        let expected_extremities = self.last.iter().map(|(nid, _)| *nid).collect();
        let redacts = self.redacted(db, spec.redacts.as_ref()).await;
        let event = self.append(nid, &pdu, spec.device_id);
        let create = (self.revision == 0).then(|| NewRoom {
            room_id: self.room_id.clone(),
            version: self.version.id().clone(),
            creator: sender.to_owned(),
            in_directory: false,
            alias: None,
        });
        let snapshots = if pdu.is_state() {
            vec![self.snapshot()]
        } else {
            Vec::new()
        };
        let current = pdu.is_state();
        let mut changes = Changes::new();
        changes.push(Change::Event(EventChange {
            event,
            current,
            redacts,
        }));
        let room = RoomWrite {
            room_nid: self.room_nid,
            expected_revision: self.revision,
            expected_extremities,
            extremities: vec![nid],
            depth: self.depth as i64,
            snapshot_nid: self.snapshot_nid,
            snapshots,
            create,
        };
        self.revision += 1;
        commit(
            db,
            WriteSet {
                room: Some(room),
                changes,
            },
        )
        .await;
        pdu.event_id().clone()
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
    ) -> StoredEvent {
        let transaction = device_id.map(|device_id| Transaction {
            device_id,
            target: None,
            id: pdu.content_as::<Value>().expect("an object")["body"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        });
        let prev_nids = self.last.iter().map(|(nid, _)| *nid).collect();
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
            self.snapshot_nid = SnapshotNid(nid.get());
        }
        StoredEvent {
            nid,
            room_nid: self.room_nid,
            position: StreamPosition(0),
            pdu: pdu.clone(),
            verdict: Verdict::Accepted,
            snapshot_nid: self.snapshot_nid,
            replaces,
            redacted_because: None,
            prev_nids,
            auth_nids: Vec::new(),
            transaction,
        }
    }

    fn snapshot(&self) -> NewSnapshot {
        NewSnapshot {
            nid: self.snapshot_nid,
            parent: None,
            depth: 0,
            events: self
                .state
                .iter()
                .map(|pdu| self.nids[pdu.event_id()])
                .collect(),
        }
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
            position: found.position,
            pdu: Arc::new(left),
        })
    }
}

/// Commits changes outside room heads.
pub async fn commit_changes(
    db: &Writer,
    changes: impl IntoIterator<Item = Change>,
) -> StreamPosition {
    commit(
        db,
        WriteSet {
            room: None,
            changes: changes.into_iter().collect(),
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
