//! Rooms for the tests of crates that read rooms, on the write path of the `room` crate.

use std::time::Duration;

use event::Signer;
use live::Live;
use room::{CreateRoom, Error, NewMessage, Preset, Profile, Rooms, Sender, Settings};
use ruma::{
    DeviceId, EventId, OwnedEventId, OwnedRoomId, RoomVersionId, UserId, events::StateEventType,
};
use serde_json::{Map, Value, json, value::RawValue};
use storage::{Committer, Database, UserChange, UserChanges, stream::Receipt};
use types::{Clock, RoomNid, StreamPosition};

use crate::{Writer, register_device, server_name};

/// When all events of these rooms are sent, in milliseconds since the epoch.
const SENT_MS: u64 = 1_000_000;

/// The state events of a new room.
pub const CREATION_EVENTS: usize = 6;

/// A room of a test. Methods that begin with `try_` return what the rules refuse; the others
/// expect that they allow it.
#[derive(Clone, Debug)]
pub struct TestRoom {
    /// Its nid.
    pub room_nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
}

/// The rooms of a test process.
pub(crate) fn rooms(database: Database, live: Live, committer: Committer) -> Rooms {
    let (signer, _) = Signer::generate(&server_name()).expect("a key");
    let settings = Settings {
        server_name: server_name(),
        default_version: RoomVersionId::V12,
        limits: config::Limits::default(),
        receive_time: Duration::from_mins(5),
        search_language: "simple".to_owned(),
    };
    let clock = Clock::fixed(SENT_MS);
    let federation = crate::closed_federation(&database, &signer, &clock);
    Rooms::new(
        settings,
        database,
        live,
        committer,
        (federation, signer),
        clock,
    )
}

/// A public room with shared history whose members may set all state.
fn request() -> CreateRoom {
    let levels = [
        ("state_default", json!(0)),
        ("events", json!({})),
        ("invite", json!(0)),
    ];
    let levels = levels.map(|(key, level)| (key.to_owned(), level));
    CreateRoom {
        version: None,
        preset: Preset::PublicChat,
        in_directory: false,
        alias: None,
        name: None,
        topic: None,
        creation_content: Map::new(),
        power_level_content_override: Map::from_iter(levels),
        initial_state: vec![(
            "m.room.guest_access".into(),
            String::new(),
            raw(&json!({ "guest_access": "forbidden" })),
        )],
        invite: Vec::new(),
        is_direct: false,
    }
}

fn raw(content: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(content).expect("JSON")
}

impl TestRoom {
    /// A public room with shared history that its creator has joined, and whose members may set all
    /// state and invite.
    pub async fn create(db: &Writer, creator: &UserId) -> Self {
        let creator = Sender::user(creator);
        let created = db.rooms.create(&creator, Profile::default(), request());
        let room_id = created.await.expect("the room is created");
        let mut connection = db.database.acquire().await.expect("the database answers");
        let row = storage::rooms::find(&mut connection, &room_id).await;
        let row = row.expect("the database answers").expect("the room");
        Self {
            room_nid: row.room_nid,
            room_id,
        }
    }

    /// Sends a text message.
    pub async fn message(&self, db: &Writer, sender: &UserId, body: &str) -> OwnedEventId {
        let sent = self.try_message(db, sender, body).await;
        sent.expect("the message is allowed")
    }

    /// Sends a text message, if that is allowed.
    pub async fn try_message(
        &self,
        db: &Writer,
        sender: &UserId,
        body: &str,
    ) -> Result<OwnedEventId, Error> {
        self.send(db, &Sender::user(sender), "m.room.message", &text(body))
            .await
    }

    /// Sends a text message as a device does; the body is also the transaction id.
    pub async fn message_from(
        &self,
        db: &Writer,
        sender: &UserId,
        device_id: &str,
        body: &str,
    ) -> OwnedEventId {
        let device_id = <&DeviceId>::from(device_id);
        register_device(&db.database, sender, device_id).await;
        let sender = Sender {
            device_id: Some(device_id.to_owned()),
            ..Sender::user(sender).with_transaction(body.into())
        };
        let sent = self.send(db, &sender, "m.room.message", &text(body)).await;
        sent.expect("the message is allowed")
    }

    /// Sends an event that is not state.
    pub async fn event(
        &self,
        db: &Writer,
        sender: &UserId,
        event_type: &str,
        content: Value,
    ) -> OwnedEventId {
        let sender = Sender::user(sender);
        let sent = self.send(db, &sender, event_type, &content).await;
        sent.expect("the event is allowed")
    }

    async fn send(
        &self,
        db: &Writer,
        sender: &Sender,
        event_type: &str,
        content: &Value,
    ) -> Result<OwnedEventId, Error> {
        let message = NewMessage {
            event_type: event_type.into(),
            content: raw(content),
        };
        db.rooms.send(&self.room_id, sender, message).await
    }

    /// Sets state.
    pub async fn state(
        &self,
        db: &Writer,
        sender: &UserId,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> OwnedEventId {
        let set = self.try_state(db, sender, (event_type, state_key), &content);
        set.await.expect("the state is allowed")
    }

    /// Sets state of a type and a state key, if that is allowed.
    pub async fn try_state(
        &self,
        db: &Writer,
        sender: &UserId,
        (event_type, state_key): (&str, &str),
        content: &Value,
    ) -> Result<OwnedEventId, Error> {
        let event_type = StateEventType::from(event_type);
        let (sender, content) = (Sender::user(sender), raw(content));
        db.rooms
            .set_state(&self.room_id, &sender, event_type, state_key, content)
            .await
    }

    /// Sets a user's membership.
    pub async fn member(
        &self,
        db: &Writer,
        sender: &UserId,
        target: &UserId,
        membership: &str,
    ) -> OwnedEventId {
        let set = self.try_member(db, sender, target, membership).await;
        set.expect("the membership is allowed")
    }

    /// Sets a user's membership, if that is allowed.
    pub async fn try_member(
        &self,
        db: &Writer,
        sender: &UserId,
        target: &UserId,
        membership: &str,
    ) -> Result<OwnedEventId, Error> {
        let content = json!({ "membership": membership });
        self.try_state(db, sender, ("m.room.member", target.as_str()), &content)
            .await
    }

    /// Redacts an event.
    pub async fn redact(&self, db: &Writer, sender: &UserId, target: &EventId) -> OwnedEventId {
        let redacted = self.try_redact(db, sender, target).await;
        redacted.expect("the redaction is allowed")
    }

    /// Redacts an event, if that is allowed.
    pub async fn try_redact(
        &self,
        db: &Writer,
        sender: &UserId,
        target: &EventId,
    ) -> Result<OwnedEventId, Error> {
        let sender = Sender::user(sender);
        db.rooms.redact(&self.room_id, &sender, target, None).await
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
}

fn text(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

/// Commits changes outside of rooms.
pub async fn commit_changes(
    db: &Writer,
    changes: impl IntoIterator<Item = UserChange>,
) -> StreamPosition {
    let changes: UserChanges = changes.into_iter().collect();
    let committed = db.committer.commit_changes(changes).await;
    committed.expect("the changes are committed")
}
