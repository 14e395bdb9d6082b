//! Write sets to try the committer with.

use std::sync::Arc;

use event::{Draft, Parents, Pdu, RoomVersion, Signer};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedUserId, UserId, owned_user_id, uint};
use serde_json::{Value, json, value::to_raw_value};
use storage::{
    Change, Changes, IdAllocator, StoredEvent, Verdict,
    committer::WriteSet,
    rooms::{NewRoom, NewSnapshot, RoomWrite},
    stream::{AccountData, EventChange},
};
use types::{EventNid, RoomNid, SnapshotNid, StreamPosition};

pub(crate) fn alice() -> OwnedUserId {
    owned_user_id!("@alice:test.localhost")
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
        room: None,
        changes: Changes::from_iter([Change::AccountData(data)]),
    }
}

/// A room whose graph is a chain of unchecked events: enough for the committer.
#[derive(Clone)]
pub(crate) struct Room {
    nid: RoomNid,
    revision: i64,
    last: Option<(EventNid, Arc<Pdu>)>,
    snapshot: SnapshotNid,
    signer: Signer,
    nids: IdAllocator,
}

impl Room {
    pub(crate) async fn new(nids: &IdAllocator) -> Self {
        let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
        Self {
            nid: RoomNid(nids.allocate_one().await.expect("a number")),
            revision: 0,
            last: None,
            snapshot: SnapshotNid(0),
            signer,
            nids: nids.clone(),
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

    async fn write(
        &mut self,
        sender: OwnedUserId,
        event_type: &str,
        state_key: Option<String>,
        content: Value,
    ) -> WriteSet {
        let event_nid = EventNid(self.nids.allocate_one().await.expect("a number"));
        let create = self.last.is_none();
        let is_state = state_key.is_some();
        let version = RoomVersion::default_version();
        let draft = Draft {
            room_id: self.last.as_ref().map(|(_, pdu)| pdu.room_id().to_owned()),
            sender,
            event_type: event_type.into(),
            state_key,
            content: to_raw_value(&content).expect("content"),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(uint!(1)),
        };
        let parents = Parents {
            prev_events: self
                .last
                .iter()
                .map(|(_, pdu)| pdu.event_id().to_owned())
                .collect(),
            auth_events: Vec::new(),
            depth: self.last.as_ref().map_or(1, |(_, pdu)| pdu.depth() + 1),
        };
        let pdu = Arc::new(
            draft
                .build(&version, parents, &self.signer)
                .expect("an event"),
        );
        let mut snapshots = Vec::new();
        if create {
            self.snapshot = SnapshotNid(event_nid.get());
            snapshots.push(NewSnapshot {
                nid: self.snapshot,
                parent: None,
                depth: 0,
                events: vec![event_nid],
            });
        }
        let event = StoredEvent {
            nid: event_nid,
            room_nid: self.nid,
            position: StreamPosition::default(),
            pdu: pdu.clone(),
            verdict: Verdict::Accepted,
            snapshot_nid: self.snapshot,
            replaces: None,
            redacted_because: None,
            prev_nids: self.last.iter().map(|(nid, _)| *nid).collect(),
            auth_nids: Vec::new(),
            transaction: None,
        };
        let write = RoomWrite {
            room_nid: self.nid,
            expected_revision: self.revision,
            expected_extremities: self.last.iter().map(|(nid, _)| *nid).collect(),
            extremities: vec![event_nid],
            depth: pdu.depth() as i64,
            snapshot_nid: self.snapshot,
            snapshots,
            create: create.then(|| NewRoom {
                room_id: pdu.room_id().to_owned(),
                version: version.id().clone(),
                creator: alice(),
                in_directory: false,
                alias: None,
            }),
        };
        self.revision += 1;
        self.last = Some((event_nid, pdu));
        let change = Change::Event(EventChange {
            event,
            current: is_state,
            redacts: None,
        });
        WriteSet {
            room: Some(write),
            changes: Changes::from_iter([change]),
        }
    }
}
