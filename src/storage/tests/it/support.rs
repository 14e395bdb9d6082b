//! Write sets to try the committer with.

use std::{collections::HashMap, sync::Arc};

use event::{Draft, Parents, Pdu, RoomVersion, Signer, layers::Digest};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedUserId, UserId, owned_user_id, uint};
use serde_json::{Value, json, value::to_raw_value};
use storage::{
    IdAllocator, StateKeys, StoredEvent, UserChange, UserChanges,
    committer::WriteSet,
    rooms::{HeadVersion, NewEvent, NewRoom, Parent, Placement, RoomHead, RoomStatus, RoomWrite},
    snapshots::NewSnapshot,
    stream::{AccountData, StateChange, StateEvent},
};
use testkit::TestDatabase;
use types::{EventNid, RoomNid, SnapshotNid, StateKeyNid, StreamPosition};

pub(crate) fn alice() -> OwnedUserId {
    owned_user_id!("@alice:test.localhost")
}

/// Commits a write set; returns the position of its last change.
pub(crate) async fn commit(test: &TestDatabase, set: WriteSet) -> StreamPosition {
    let submitted = test.committer.submit(set).await;
    submitted.durable().await.expect("committed")
}

/// One piece of account data.
pub(crate) fn account_data(user_id: &UserId, event_type: &str, content: &str) -> WriteSet {
    let data = AccountData {
        user_id: user_id.to_owned(),
        room_nid: None,
        event_type: event_type.to_owned(),
        content: content.to_owned(),
    };
    WriteSet {
        changes: UserChanges::from_iter([UserChange::AccountData(data)]),
        ..WriteSet::default()
    }
}

/// The changes of state of a write set's only event.
pub(crate) fn delta(set: &mut WriteSet) -> &mut Vec<StateChange> {
    let room = set.room.as_mut().expect("a room");
    &mut room.events.first_mut().expect("an event").delta
}

/// A room whose graph is a chain of unchecked events: enough for the committer.
#[derive(Clone)]
pub(crate) struct Room {
    nid: RoomNid,
    revision: i64,
    last: Option<(EventNid, Arc<Pdu>)>,
    snapshot: SnapshotNid,
    state: HashMap<StateKeyNid, StateEvent>,
    signer: Signer,
    nids: IdAllocator,
    state_keys: StateKeys,
}

impl Room {
    pub(crate) async fn new(test: &TestDatabase) -> Self {
        let nids = &test.nids;
        let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
        Self {
            nid: RoomNid(nids.allocate_one().await.expect("a number")),
            revision: 0,
            last: None,
            snapshot: SnapshotNid(0),
            state: HashMap::new(),
            signer,
            nids: nids.clone(),
            state_keys: StateKeys::new(test.database.clone()),
        }
    }

    pub(crate) fn nid(&self) -> RoomNid {
        self.nid
    }

    /// Goes on as if another process had not written.
    pub(crate) fn rewind(&mut self, revision: i64) {
        self.revision = revision;
    }

    /// The write set of the next event; the first one creates the room.
    pub(crate) async fn next(&mut self) -> WriteSet {
        if self.last.is_none() {
            let content = json!({ "room_version": "12", "room_nid": self.nid.get() });
            return self
                .write(alice(), "m.room.create", Some(String::new()), content)
                .await;
        }
        self.write(
            alice(),
            "m.room.message",
            None,
            json!({ "body": self.revision }),
        )
        .await
    }

    /// The write set of a change of membership.
    pub(crate) async fn member(&mut self, user_id: &UserId, membership: &str) -> WriteSet {
        // PostgreSQL cannot look into JSON text with such a name.
        let content = json!({ "membership": membership, "displayname": "\u{0}" });
        let sender = user_id.to_owned();
        self.write(sender, "m.room.member", Some(user_id.to_string()), content)
            .await
    }

    /// The write set of an event.
    pub(crate) async fn write(
        &mut self,
        sender: OwnedUserId,
        event_type: &str,
        state_key: Option<String>,
        content: Value,
    ) -> WriteSet {
        let event_nid = EventNid(self.nids.allocate_one().await.expect("a number"));
        let create = self.last.is_none();
        let pdu = self.build(sender, event_type, state_key, &content);
        let delta = self.change(event_nid, &pdu).await;
        let mut snapshots = Vec::new();
        if let (true, Some(StateChange { key, .. })) = (create, &delta) {
            self.snapshot = SnapshotNid(event_nid.get());
            snapshots.push(NewSnapshot {
                nid: self.snapshot,
                parent: None,
                depth: 0,
                entries: vec![(*key, Some(event_nid))],
                digest: Digest::of([(*key, event_nid)]),
            });
        }
        let expected = self.head();
        let new = self.new_event(event_nid, &pdu, delta);
        self.revision += 1;
        self.last = Some((event_nid, pdu.clone()));
        let write = RoomWrite {
            room_nid: self.nid,
            expected,
            next: RoomHead {
                version: self.head(),
                depth: pdu.depth() as i64,
                snapshot_nid: self.snapshot,
            },
            events: vec![new],
            snapshots,
            layers: None,
            create: create.then(|| NewRoom {
                room_id: pdu.room_id().to_owned(),
                version: RoomVersion::default_version().id().clone(),
                creator: alice(),
                in_directory: false,
                alias: None,
                status: RoomStatus::Active,
                is_known: false,
            }),
            recheck: None,
            partial: None,
        };
        WriteSet {
            room: Some(write),
            ..WriteSet::default()
        }
    }

    fn build(
        &self,
        sender: OwnedUserId,
        event_type: &str,
        state_key: Option<String>,
        content: &Value,
    ) -> Arc<Pdu> {
        let last = self.last.as_ref().map(|(_, pdu)| pdu);
        let draft = Draft {
            room_id: last.map(|pdu| pdu.room_id().to_owned()),
            sender,
            event_type: event_type.into(),
            state_key,
            content: to_raw_value(content).expect("content"),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(uint!(1)),
        };
        let parents = Parents {
            prev_events: last
                .map(|pdu| pdu.event_id().to_owned())
                .into_iter()
                .collect(),
            auth_events: Vec::new(),
            depth: last.map_or(1, |pdu| pdu.depth() + 1),
            ..Parents::default()
        };
        let pdu = draft.build(&RoomVersion::default_version(), parents, &self.signer);
        Arc::new(pdu.expect("an event"))
    }

    /// The change of state by an event.
    async fn change(&mut self, nid: EventNid, pdu: &Arc<Pdu>) -> Option<StateChange> {
        let key = (pdu.event_type().to_owned(), pdu.state_key()?.to_owned());
        let found = self.state_keys.ids([key.clone()]).await;
        let found = found.expect("the database answers");
        let key = *found.get(&key).expect("the key");
        let event = StateEvent {
            nid,
            pdu: pdu.clone(),
        };
        Some(StateChange {
            key,
            from: self.state.insert(key, event.clone()),
            to: Some(event),
        })
    }

    fn new_event(&self, nid: EventNid, pdu: &Arc<Pdu>, delta: Option<StateChange>) -> NewEvent {
        let parents = self.last.iter().map(|(nid, pdu)| Parent {
            nid: Some(*nid),
            event_id: pdu.event_id().to_owned(),
        });
        NewEvent {
            event: StoredEvent {
                nid,
                room_nid: self.nid,
                position: None,
                history_order: None,
                pdu: pdu.clone(),
                snapshot_nid: Some(self.snapshot),
                replaces: None,
                redacted_because: None,
                auth_nids: Vec::new(),
                after_gap: false,
                has_relations: false,
                transaction: None,
            },
            placement: Placement::Timeline,
            parents: parents.collect(),
            may_be_missed: false,
            redacts: None,
            awaits: None,
            original: None,
            delta: delta.into_iter().collect(),
        }
    }

    fn head(&self) -> HeadVersion {
        HeadVersion {
            revision: self.revision,
            extremities: self.last.iter().map(|(nid, _)| *nid).collect(),
        }
    }
}
