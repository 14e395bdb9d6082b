//! Rooms on a database of the test's own, and helpers for common requests.

use std::time::Duration;

use event::{Pdu, Signer};
use live::Live;
use room::{
    CreateRoom, Error, HistoryFilter, MembershipChange, NewMessage, PageRequest, Preset, Profile,
    Reader, Rooms, Sender, Settings,
};
use ruma::{
    DeviceId, EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    api::Direction, device_id, events::StateEventType,
};
use serde_json::{Map, Value, value::RawValue, value::to_raw_value};
use storage::{Connection, StoredEvent, events, rooms};
use testkit::{TestDatabase, Writer};
use types::{Clock, HistoryOrder, PageToken};

/// The time of the tests' clocks, in milliseconds since the epoch.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// A user of this server.
pub(crate) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:test.localhost")).expect("a user id")
}

pub(crate) fn alice() -> OwnedUserId {
    user("alice")
}

pub(crate) fn bob() -> OwnedUserId {
    user("bob")
}

pub(crate) fn carol() -> OwnedUserId {
    user("carol")
}

pub(crate) fn phone() -> &'static DeviceId {
    device_id!("PHONE")
}

/// A user at the phone, without a transaction.
pub(crate) fn sender(user_id: &UserId) -> Sender {
    Sender {
        device_id: Some(phone().to_owned()),
        ..Sender::user(user_id)
    }
}

/// A transaction of a user's phone.
pub(crate) fn transaction(user_id: &UserId, id: &str) -> Sender {
    sender(user_id).with_transaction(id.into())
}

pub(crate) fn reader(user_id: &UserId) -> Reader<'_> {
    Reader {
        user_id,
        device_id: Some(phone()),
    }
}

fn settings() -> Settings {
    Settings {
        server_name: testkit::server_name(),
        default_version: RoomVersionId::V12,
        limits: config::Limits::default(),
        receive_time: Duration::from_mins(5),
        search_language: "simple".to_owned(),
    }
}

/// One server process.
pub(crate) struct Server {
    pub(crate) test: Writer,
    pub(crate) live: Live,
    pub(crate) rooms: Rooms,
    pub(crate) clock: Clock,
    signer: Signer,
}

impl std::ops::Deref for Server {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.rooms
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
        Self::with(testkit::database().await, signer, 64 << 20)
            .with_devices()
            .await
    }

    /// Makes the devices known that transactions belong to.
    async fn with_devices(self) -> Self {
        for user_id in [alice(), bob(), carol()] {
            for device_id in [phone(), device_id!("LAPTOP")] {
                testkit::register_device(&self.test.database, &user_id, device_id).await;
            }
        }
        self
    }

    /// A server with so little memory that it keeps no room in it.
    pub(crate) async fn start_without_cache() -> Self {
        let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
        Self::with(testkit::database().await, signer, 0)
            .with_devices()
            .await
    }

    /// Another process on the same database; also what is left after a restart.
    pub(crate) async fn another(&self) -> Self {
        let test = TestDatabase::open(self.test.options.clone()).await;
        Self::with(test, self.signer.clone(), 64 << 20)
    }

    /// Another process on the same database that talks to other servers.
    pub(crate) async fn another_federating(&self, federation: &config::Federation) -> Self {
        let test = TestDatabase::open(self.test.options.clone()).await;
        Self::with_federation(test, self.signer.clone(), 64 << 20, federation)
    }

    /// The same server on an empty database.
    pub(crate) async fn twin(&self) -> Self {
        Self::with(testkit::database().await, self.signer.clone(), 64 << 20)
    }

    /// A server that talks to others.
    pub(crate) async fn start_federating(federation: &config::Federation) -> Self {
        let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
        Self::with_federation(testkit::database().await, signer, 64 << 20, federation)
            .with_devices()
            .await
    }

    fn with(test: TestDatabase, signer: Signer, budget: usize) -> Self {
        Self::with_federation(test, signer, budget, &config::Federation::default())
    }

    /// A server whose answer to a transaction waits for nothing.
    pub(crate) async fn start_hurried() -> Self {
        let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
        let settings = Settings {
            receive_time: Duration::ZERO,
            ..settings()
        };
        let federation = config::Federation::default();
        let test = testkit::database().await;
        Self::with_settings((test, settings), signer, 64 << 20, &federation)
            .with_devices()
            .await
    }

    fn with_federation(
        test: TestDatabase,
        signer: Signer,
        budget: usize,
        federation: &config::Federation,
    ) -> Self {
        Self::with_settings((test, settings()), signer, budget, federation)
    }

    fn with_settings(
        (test, settings): (TestDatabase, Settings),
        signer: Signer,
        budget: usize,
        federation: &config::Federation,
    ) -> Self {
        let clock = Clock::fixed(NOW);
        let limits = live::Settings {
            budget,
            max_typing_users: 100,
            presence: true,
        };
        let (test, mut feed) = test.split_within(limits);
        let live = test.live.clone();
        let follower = live.clone();
        #[expect(clippy::disallowed_methods, reason = "tests have no supervisor")]
        tokio::spawn(async move { while follower.run(&mut feed).await.is_err() {} });
        let rooms = Rooms::new(
            settings,
            test.database.clone(),
            live.clone(),
            test.committer.clone(),
            (
                testkit::federation(&test.database, &signer, &clock, federation),
                signer.clone(),
            ),
            clock.clone(),
        );
        Self {
            test,
            live,
            rooms,
            clock,
            signer,
        }
    }

    /// A room that everybody may join, with these members; the first one makes it.
    pub(crate) async fn room(&self, members: &[&UserId]) -> OwnedRoomId {
        let room_id = self
            .create(&sender(members[0]), Profile::default(), public())
            .await
            .expect("the room is made");
        for member in &members[1..] {
            self.join_room(&room_id, member).await.expect("joined");
        }
        room_id
    }

    /// Joins without a profile.
    pub(crate) async fn join_room(&self, room_id: &RoomId, user_id: &UserId) -> Result<(), Error> {
        self.join(room_id, &sender(user_id), Profile::default(), Map::new())
            .await
    }

    pub(crate) async fn invite(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        target: &UserId,
    ) -> Result<(), Error> {
        let change = MembershipChange::Invite {
            profile: Profile::default(),
            is_direct: false,
        };
        self.change_membership(room_id, &self::sender(sender), target, change, None)
            .await
    }

    pub(crate) async fn change(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        target: &UserId,
        change: MembershipChange,
    ) -> Result<(), Error> {
        self.change_membership(room_id, &self::sender(sender), target, change, None)
            .await
    }

    /// Sends a text message whose transaction id is the text.
    pub(crate) async fn send_text(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        text: &str,
    ) -> Result<OwnedEventId, Error> {
        self.send(room_id, &transaction(sender, text), message(text))
            .await
    }

    pub(crate) async fn set(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        event_type: &str,
        content: Value,
    ) -> Result<OwnedEventId, Error> {
        self.set_keyed(room_id, sender, event_type, "", content)
            .await
    }

    pub(crate) async fn set_keyed(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> Result<OwnedEventId, Error> {
        let event_type = StateEventType::from(event_type);
        self.set_state(
            room_id,
            &self::sender(sender),
            event_type,
            state_key,
            raw(&content),
        )
        .await
    }

    /// The content of a state event that the user may see.
    pub(crate) async fn content(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        event_type: &str,
        state_key: &str,
    ) -> Result<Value, Error> {
        let event_type = StateEventType::from(event_type);
        let event = self
            .visible_state_event(room_id, user_id, &event_type, state_key)
            .await?;
        Ok(event.content_as().expect("content"))
    }

    pub(crate) async fn read(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        event_id: &EventId,
    ) -> Result<Value, Error> {
        let body = self.event(room_id, reader(user_id), event_id).await?;
        Ok(json(&body))
    }

    pub(crate) async fn page(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        request: &PageRequest,
    ) -> Result<Value, Error> {
        let body = self.messages(room_id, reader(user_id), request).await?;
        Ok(json(&body))
    }

    /// The texts of the messages that the user can scroll back to, the oldest first.
    pub(crate) async fn readable_texts(&self, room_id: &RoomId, user_id: &UserId) -> Vec<String> {
        let page = self
            .page(room_id, user_id, &backwards(1000))
            .await
            .expect("messages");
        let mut texts = bodies(&page["chunk"]);
        texts.reverse();
        texts
    }

    /// All events of a room as they are stored, the oldest first.
    pub(crate) async fn stored(&self, room_id: &RoomId) -> Vec<StoredEvent> {
        let mut db = self.test.database.acquire().await.expect("a connection");
        stored(&mut db, room_id).await
    }

    /// Waits until this process has applied all that any process has committed.
    pub(crate) async fn catch_up(&self) {
        let committed = self.test.database.latest_position().await;
        let committed = committed.expect("the stream");
        self.live.wait_until_applied(committed).await;
    }

    /// Where the stream stands.
    pub(crate) async fn position(&self) -> i64 {
        let mut db = self.test.database.acquire().await.expect("a connection");
        storage::stream::position(&mut db)
            .await
            .expect("the stream")
            .get()
    }
}

/// The events of a room, the oldest first, after checking that each follows the one before it.
pub(crate) async fn chain(server: &Server, room_id: &RoomId) -> Vec<OwnedEventId> {
    let stored = server.stored(room_id).await;
    for pair in stored.windows(2) {
        assert_eq!(pair[1].pdu.prev_events(), [pair[0].pdu.event_id().clone()]);
        assert_eq!(pair[1].pdu.depth(), pair[0].pdu.depth() + 1);
    }
    let ids = stored.iter().map(|event| event.pdu.event_id().clone());
    ids.collect()
}

pub(crate) async fn stored(db: &mut Connection, room_id: &RoomId) -> Vec<StoredEvent> {
    let room = rooms::find(db, room_id)
        .await
        .expect("rooms")
        .expect("the room");
    events::history(
        db,
        room.room_nid,
        HistoryOrder::MIN,
        HistoryOrder(i64::MAX),
        events::Direction::Forward,
        100_000,
    )
    .await
    .expect("the timeline")
}

/// What a client asks for that names nothing but a preset.
pub(crate) fn create(preset: Preset) -> CreateRoom {
    CreateRoom {
        version: None,
        preset,
        in_directory: false,
        alias: None,
        name: None,
        topic: None,
        creation_content: Map::new(),
        power_level_content_override: Map::new(),
        initial_state: Vec::new(),
        invite: Vec::new(),
        is_direct: false,
    }
}

pub(crate) fn public() -> CreateRoom {
    let guests = raw(&serde_json::json!({ "guest_access": "forbidden" }));
    CreateRoom {
        initial_state: vec![("m.room.guest_access".into(), String::new(), guests)],
        ..create(Preset::PublicChat)
    }
}

pub(crate) fn of_version(version: &str) -> CreateRoom {
    CreateRoom {
        version: Some(RoomVersionId::try_from(version).expect("a version")),
        ..public()
    }
}

pub(crate) fn message(text: &str) -> NewMessage {
    NewMessage {
        event_type: "m.room.message".into(),
        content: raw(&serde_json::json!({ "msgtype": "m.text", "body": text })),
    }
}

/// A page from the end of the room backwards.
pub(crate) fn backwards(limit: usize) -> PageRequest {
    PageRequest {
        from: None,
        to: None,
        direction: Direction::Backward,
        limit,
        filter: HistoryFilter::default(),
    }
}

/// A page from the beginning of the room forwards.
pub(crate) fn forwards(limit: usize) -> PageRequest {
    PageRequest {
        direction: Direction::Forward,
        ..backwards(limit)
    }
}

pub(crate) fn token(text: &Value) -> PageToken {
    let text = text.as_str().expect("a token");
    text.parse().expect("a page token")
}

pub(crate) fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("JSON")
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The texts of the messages in a list of events.
pub(crate) fn bodies(events: &Value) -> Vec<String> {
    let events = events.as_array().expect("a list");
    events
        .iter()
        .filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned()))
        .collect()
}

/// The content of an event.
pub(crate) fn content(pdu: &Pdu) -> Value {
    pdu.content_as().expect("content")
}

/// What `result` failed with.
pub(crate) fn error_kind<T>(result: Result<T, Error>) -> types::ErrorKind {
    match result {
        Ok(_) => panic!("it was allowed"),
        Err(error) => types::Fault::kind(&error),
    }
}
