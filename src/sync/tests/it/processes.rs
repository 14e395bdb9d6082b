//! Clients whose requests go to one process now and to another then.

use std::{pin::Pin, time::Duration};

use live::PresenceState;
use ruma::{OwnedUserId, device_id};
use serde_json::{Value, json};
use storage::{Message, PeerEvent, cluster::Typing};
use testkit::{TestDatabase, room::TestRoom};
use tokio::{sync::mpsc, task::JoinSet};

use crate::support::{Server, alice, bob, bodies, follow, next, request};

const LONG: Duration = Duration::from_hours(1);

/// The typing messages that a process has received and applied; `None` when it begins to listen, and
/// when another one does.
type TypingMessages = mpsc::UnboundedReceiver<Option<(OwnedUserId, Typing)>>;

/// A process that receives the messages of others, and sends its own.
struct Process {
    server: Server,
    received: TypingMessages,
    /// Sends the messages of the process; none once it runs.
    send: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    tasks: JoinSet<()>,
}

impl std::ops::Deref for Process {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Process {
    async fn start(database: &TestDatabase) -> Self {
        let mut process = Self::start_silent(database).await;
        process.send_messages();
        process
    }

    /// A process that sends nothing yet.
    async fn start_silent(database: &TestDatabase) -> Self {
        let mut database = TestDatabase::open(database.options.clone()).await;
        let mut tasks = JoinSet::new();
        let (send, listen) = database.feed.connect_cluster();
        let server = follow(database);
        let (sender, mut received) = mpsc::unbounded_channel();
        let mut events = server.db.database.subscribe();
        let live = server.live.clone();
        tasks.spawn(async move {
            while let Some(event) = events.next().await {
                live.apply_peer_event(&event);
                // The receiver is gone at the end of a test.
                let _ended = sender.send(typing_message(&event));
            }
        });
        tasks.spawn(listen);
        assert_eq!(received.recv().await, Some(None));
        Self {
            server,
            received,
            send: Some(Box::pin(send)),
            tasks,
        }
    }

    /// Sends the messages that are waiting, and all others at once.
    fn send_messages(&mut self) {
        self.tasks.spawn(self.send.take().expect("it is silent"));
    }

    /// Waits until the cache holds everything that any process has committed.
    async fn catch_up(&self) {
        let committed = self.db.database.latest_position().await;
        let committed = committed.expect("the database answers");
        self.live.wait_until_applied(committed).await;
    }

    async fn set_typing(&self, room: &TestRoom, time: Option<Duration>) {
        let set = self.live.set_typing(&bob(), &room.room_id, time).await;
        assert!(set.expect("the database"));
    }

    /// Waits for the next message about typing users; it must be this.
    async fn expect_typing(&mut self, typing: Typing) {
        loop {
            if let Some(message) = self.received.recv().await.expect("the process lives") {
                assert_eq!(message, (bob(), typing));
                return;
            }
        }
    }

    /// Waits for something that ends the waiting of a client with this token.
    async fn wait(&self, since: &Value) -> Value {
        let mut waits = request(&alice(), Some(&next(since)));
        waits.timeout = LONG;
        self.ask(&waits).await
    }

    /// The typing users of a room in an initial sync.
    async fn typing_users(&self, room: &TestRoom) -> Value {
        typing(&self.sync(&alice(), None).await, room)
    }
}

/// What a message says about a typing user; the messages of these tests are about nothing else.
fn typing_message(event: &PeerEvent) -> Option<(OwnedUserId, Typing)> {
    match event {
        PeerEvent::Message(message) => match &**message {
            Message::Typing(message) => Some((message.user_id.clone(), message.typing)),
            _ => None,
        },
        PeerEvent::Resync => None,
    }
}

/// Two processes, and a room with Alice and Bob that both know.
async fn pair() -> (TestDatabase, Process, Process, TestRoom) {
    let database = testkit::database().await;
    let mut here = Process::start(&database).await;
    let there = Process::start(&database).await;
    assert_eq!(here.received.recv().await, Some(None));
    let room = TestRoom::create(&here.db, &alice()).await;
    room.member(&here.db, &bob(), &bob(), "join").await;
    there
        .live
        .wait_until_applied(here.db.database.committed())
        .await;
    (database, here, there, room)
}

/// Who types in a room, as an answer says; `null` if it says nothing.
fn typing(answer: &Value, room: &TestRoom) -> Value {
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    let events = section["ephemeral"]["events"].as_array();
    let mut events = events.into_iter().flatten();
    events
        .find(|event| event["type"] == "m.typing")
        .map_or(Value::Null, |event| event["content"]["user_ids"].clone())
}

#[tokio::test]
async fn typing_at_one_process_is_returned_by_another() {
    let (_database, here, there, room) = pair().await;
    let first = there.sync(&alice(), None).await;
    let (answer, ()) = tokio::join!(there.wait(&first), here.set_typing(&room, Some(LONG)));
    assert_eq!(typing(&answer, &room), json!([bob()]));
    let (answer, ()) = tokio::join!(there.wait(&answer), here.set_typing(&room, None));
    assert_eq!(typing(&answer, &room), json!([]));
}

#[tokio::test]
async fn continued_typing_is_not_returned_again() {
    let (_database, here, mut there, room) = pair().await;
    for _ in 0..5 {
        here.set_typing(&room, Some(LONG)).await;
    }
    here.set_typing(&room, None).await;
    there.expect_typing(Typing::Started).await;
    there.expect_typing(Typing::Stopped).await;
}

#[tokio::test]
async fn typing_that_ends_by_itself_ends_everywhere() {
    let (_database, here, mut there, room) = pair().await;
    here.set_typing(&room, Some(Duration::from_millis(1))).await;
    there.expect_typing(Typing::Started).await;
    there.expect_typing(Typing::Ended).await;
    let first = there.sync(&alice(), None).await;
    assert_eq!(typing(&first, &room), Value::Null);
}

#[tokio::test]
async fn stopping_at_one_process_ends_typing_at_all() {
    let (_database, mut here, mut there, room) = pair().await;
    here.set_typing(&room, Some(LONG)).await;
    there.expect_typing(Typing::Started).await;
    there.set_typing(&room, Some(LONG)).await;
    here.expect_typing(Typing::Started).await;
    there.set_typing(&room, None).await;
    here.expect_typing(Typing::Stopped).await;
    there.expect_typing(Typing::Ended).await;
    assert_eq!(here.typing_users(&room).await, Value::Null);
    assert_eq!(there.typing_users(&room).await, Value::Null);
}

/// A silent process at which Bob begins to type, and another one.
async fn typing_unannounced() -> (TestDatabase, Process, Process, TestRoom) {
    let database = testkit::database().await;
    let here = Process::start_silent(&database).await;
    let there = Process::start(&database).await;
    let room = TestRoom::create(&there.db, &alice()).await;
    room.member(&there.db, &bob(), &bob(), "join").await;
    here.catch_up().await;
    here.set_typing(&room, Some(LONG)).await;
    (database, here, there, room)
}

#[tokio::test]
async fn stopping_at_a_process_before_it_learns_of_the_typing_ends_it() {
    let (_database, mut here, mut there, room) = typing_unannounced().await;
    there.set_typing(&room, None).await;
    here.expect_typing(Typing::Stopped).await;
    here.send_messages();
    there.expect_typing(Typing::Started).await;
    there.expect_typing(Typing::Ended).await;
    assert_eq!(here.typing_users(&room).await, Value::Null);
    assert_eq!(there.typing_users(&room).await, Value::Null);
}

#[tokio::test]
async fn leaving_at_a_process_before_it_learns_of_the_typing_ends_it() {
    let (_database, mut here, mut there, room) = typing_unannounced().await;
    room.member(&there.db, &bob(), &bob(), "leave").await;
    here.catch_up().await;
    there.catch_up().await;
    here.send_messages();
    there.expect_typing(Typing::Started).await;
    there.expect_typing(Typing::Ended).await;
    assert_eq!(there.typing_users(&room).await, Value::Null);
}

#[tokio::test]
async fn client_that_moves_to_another_process_receives_what_changed_meanwhile() {
    let (_database, here, mut there, room) = pair().await;
    here.set_typing(&room, Some(LONG)).await;
    there.expect_typing(Typing::Started).await;
    let first = here.sync(&alice(), None).await;
    assert_eq!(typing(&first, &room), json!([bob()]));
    here.set_typing(&room, None).await;
    // It has heard of that before the client comes.
    there.expect_typing(Typing::Stopped).await;
    let answer = there.wait(&first).await;
    assert_eq!(typing(&answer, &room), json!([]));
}

#[tokio::test]
async fn client_that_alternates_between_processes_waits_without_changes() {
    let (_database, here, mut there, room) = pair().await;
    here.set_typing(&room, Some(LONG)).await;
    there.expect_typing(Typing::Started).await;
    let mut answer = here.sync(&alice(), None).await;
    for round in 0..6 {
        let process = [&there, &here][round % 2];
        let (told, bob, text) = (answer, bob(), round.to_string());
        let (next, _) = tokio::join!(process.wait(&told), room.message(&process.db, &bob, &text));
        let section = &next["rooms"]["join"][room.room_id.as_str()];
        assert_eq!(bodies(&section["timeline"]["events"]), [text]);
        answer = next;
    }
}

#[tokio::test]
async fn new_process_learns_the_typing_users() {
    let (database, here, _there, room) = pair().await;
    here.set_typing(&room, Some(LONG)).await;
    let mut later = Process::start(&database).await;
    later.expect_typing(Typing::Started).await;
    let first = later.sync(&alice(), None).await;
    assert_eq!(typing(&first, &room), json!([bob()]));
}

/// The presence that an answer tells: users and states.
fn presence(answer: &Value) -> Vec<(&str, &str)> {
    let events = answer["presence"]["events"].as_array();
    let told = events.into_iter().flatten().filter_map(|event| {
        let state = event["content"]["presence"].as_str()?;
        Some((event["sender"].as_str()?, state))
    });
    told.collect()
}

#[tokio::test]
async fn presence_at_one_process_is_returned_by_another() {
    let (_database, here, there, _room) = pair().await;
    let bob = bob();
    let set = |state| {
        here.live
            .set_presence(&bob, device_id!("LAPTOP"), state, None);
    };
    let first = there.sync(&alice(), None).await;
    set(PresenceState::Online);
    let answer = there.wait(&first).await;
    assert_eq!(presence(&answer), [(bob.as_str(), "online")]);
    set(PresenceState::Offline);
    let answer = there.wait(&answer).await;
    assert_eq!(presence(&answer), [(bob.as_str(), "offline")]);
}

#[tokio::test]
async fn devices_of_two_processes_count_together() {
    let (_database, here, there, _room) = pair().await;
    let bob = bob();
    let first = here.sync(&alice(), None).await;
    let set = |process: &Process, state| {
        process
            .live
            .set_presence(&bob, device_id!("LAPTOP"), state, None);
    };
    set(&there, PresenceState::Online);
    let answer = here.wait(&first).await;
    assert_eq!(presence(&answer), [(bob.as_str(), "online")]);
    // The other device is still online.
    set(&here, PresenceState::Unavailable);
    set(&there, PresenceState::Offline);
    let answer = here.wait(&answer).await;
    assert_eq!(presence(&answer), [(bob.as_str(), "unavailable")]);
}

#[tokio::test]
async fn new_process_learns_the_presence() {
    let (database, here, there, _room) = pair().await;
    let bob = bob();
    let first = there.sync(&alice(), None).await;
    here.live
        .set_presence(&bob, device_id!("LAPTOP"), PresenceState::Online, None);
    there.wait(&first).await;
    let later = Process::start(&database).await;
    let first = later.sync(&alice(), None).await;
    let answer = if presence(&first).is_empty() {
        later.wait(&first).await
    } else {
        first
    };
    assert_eq!(presence(&answer), [(bob.as_str(), "online")]);
}

#[tokio::test]
async fn typing_is_not_returned_twice_by_a_process_that_learns_of_it_later() {
    let here = testkit::database().await;
    // It is not connected with the other, and has only its heartbeat.
    let there = follow(TestDatabase::open(here.options.clone()).await);
    let here = follow(here);
    let room = TestRoom::create(&here.db, &alice()).await;
    let mut token = next(&here.sync(&alice(), None).await);
    for round in 0..20 {
        let text = round.to_string();
        room.message(&here.db, &alice(), &text).await;
        let answer = here.sync(&alice(), Some(&token)).await;
        let section = &answer["rooms"]["join"][room.room_id.as_str()];
        assert_eq!(bodies(&section["timeline"]["events"]), [text]);
        let answer = there.sync(&alice(), Some(&next(&answer))).await;
        assert!(answer.get("rooms").is_none(), "{answer}");
        token = next(&answer);
    }
}
