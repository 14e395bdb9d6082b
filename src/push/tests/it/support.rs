//! A push gateway that records requests, and processes of this server that push to it.

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use net::{AddressGuard, Dns, PostClient, TrustRoots};
use parking_lot::Mutex;
use push::{Push, PusherDraft, Settings};
use ruma::{DeviceId, OwnedUserId, UserId, owned_user_id};
use serde_json::{Value, json};
use testkit::{TestDatabase, Writer, register_device, room::TestRoom};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use types::Clock;

/// When pushers are set.
const NOW_MS: u64 = 1_700_000_000_999;

pub(crate) fn alice() -> OwnedUserId {
    owned_user_id!("@alice:test.localhost")
}

pub(crate) fn bob() -> OwnedUserId {
    owned_user_id!("@bob:test.localhost")
}

/// What the gateway does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Accepts it.
    Accept,
    /// Answers that it cannot now.
    Fail,
    /// Does not know this push key any more.
    Reject(&'static str),
}

#[derive(Clone)]
struct Recorder {
    answer: Arc<Mutex<Answer>>,
    sender: UnboundedSender<Value>,
}

/// A push gateway; it ends when it is dropped.
pub(crate) struct Gateway {
    pub(crate) url: String,
    recorder: Recorder,
    requests: UnboundedReceiver<Value>,
    _server: JoinSet<()>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let (sender, requests) = unbounded_channel();
        let answer = Arc::new(Mutex::new(Answer::Accept));
        let recorder = Recorder { answer, sender };
        let router = Router::new()
            .route("/_matrix/push/v1/notify", post(notify))
            .with_state(recorder.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self {
            url: format!("http://{address}/_matrix/push/v1/notify"),
            recorder,
            requests,
            _server: server,
        }
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.recorder.answer.lock() = answer;
    }

    /// The next notification that arrives.
    pub(crate) async fn next(&mut self) -> Value {
        self.requests.recv().await.expect("a notification")
    }

    /// The next one that arrives for a push key.
    pub(crate) async fn next_of(&mut self, push_key: &str) -> Value {
        loop {
            let next = self.next().await;
            if next["devices"][0]["pushkey"] == push_key {
                return next;
            }
        }
    }
}

async fn notify(
    State(recorder): State<Recorder>,
    Json(mut body): Json<Value>,
) -> impl IntoResponse {
    let notification = body["notification"].take();
    let push_key = notification["devices"][0]["pushkey"].clone();
    let _unwatched = recorder.sender.send(notification);
    match &*recorder.answer.lock() {
        Answer::Fail => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({}))),
        Answer::Reject(rejected) if push_key == *rejected => {
            (StatusCode::OK, Json(json!({ "rejected": [rejected] })))
        }
        Answer::Accept | Answer::Reject(_) => (StatusCode::OK, Json(json!({ "rejected": [] }))),
    }
}

/// A process of this server; it is killed when it is dropped.
pub(crate) struct Process {
    pub(crate) db: Writer,
    pub(crate) push: Push,
    stopping: CancellationToken,
    tasks: JoinSet<()>,
}

impl Process {
    /// Opens the database; nothing is sent yet.
    pub(crate) fn new(test: TestDatabase) -> Self {
        Self::with_limit(test, 10)
    }

    /// The same with another limit of pushers.
    pub(crate) fn with_limit(test: TestDatabase, pushers_per_user: u32) -> Self {
        let (db, mut feed) = test.split();
        let config: config::Push =
            toml::from_str("allowed_networks = ['127.0.0.0/8']").expect("settings");
        let limits = config::Limits {
            pushers_per_user,
            ..config::Limits::default()
        };
        let settings = Settings {
            first_pause: Duration::from_millis(20),
            max_pause: Duration::from_millis(20),
            ..Settings::new(&config, limits)
        };
        let roots = TrustRoots::system_and(None).expect("roots");
        let dns = Dns::new(&["127.0.0.1:1".parse().expect("an address")]).expect("a resolver");
        let guard = AddressGuard::new(&config.allowed_networks);
        let client = PostClient::new(dns, &roots, guard).expect("a client");
        let clock = Clock::fixed(NOW_MS);
        let push = Push::new(
            settings,
            db.database.clone(),
            db.live.clone(),
            client,
            clock,
        );
        let mut tasks = JoinSet::new();
        let live = db.live.clone();
        tasks.spawn(async move { live.run(&mut feed).await.expect("the stream") });
        Self {
            db,
            push,
            stopping: CancellationToken::new(),
            tasks,
        }
    }

    /// Has sending begin with what is committed from now on, whenever the task starts.
    pub(crate) async fn begin(&self) {
        let mut db = self.db.database.acquire().await.expect("a connection");
        let position = storage::stream::position(&mut db)
            .await
            .expect("a position");
        let cursor = storage::cursors::insert(&mut db, "push", position);
        cursor.await.expect("a cursor");
    }

    /// Begins to send.
    pub(crate) fn start(&mut self) {
        let (push, stopping) = (self.push.clone(), self.stopping.clone());
        self.tasks
            .spawn(async move { push.follow(stopping).await.expect("followed") });
    }

    /// Ends what [`start`](Self::start) began.
    pub(crate) async fn stop(mut self) {
        self.stopping.cancel();
        // The cache runs on; who follows ends.
        self.tasks
            .join_next()
            .await
            .expect("a task")
            .expect("no panic");
    }

    /// Gives a user a session on a device; returns its number.
    pub(crate) async fn session(&self, user_id: &UserId, device_id: &str) -> i64 {
        let device_id = <&DeviceId>::from(device_id);
        register_device(&self.db.database, user_id, device_id).await;
        let mut db = self.db.database.acquire().await.expect("a connection");
        let session = storage::sessions::replace(&mut db, user_id, device_id, 0).await;
        session.expect("a session").0
    }

    /// Gives a user a pusher with this push key, on a device of its own.
    pub(crate) async fn pusher(&self, user_id: &UserId, push_key: &str, gateway: &Gateway) {
        let data = json!({ "url": gateway.url });
        self.pusher_with(user_id, push_key, data).await;
    }

    /// The same with data for the gateway.
    pub(crate) async fn pusher_with(&self, user_id: &UserId, push_key: &str, data: Value) {
        let session = self.session(user_id, push_key).await;
        let set = self
            .push
            .set_pusher(user_id, session, draft(push_key, data));
        set.await.expect("a pusher");
    }

    /// The push keys of a user's pushers.
    pub(crate) async fn push_keys(&self, user_id: &UserId) -> Vec<String> {
        let pushers = self.push.pushers(user_id).await.expect("pushers");
        let keys = pushers.into_iter().map(|pusher| pusher.settings.push_key);
        keys.collect()
    }
}

/// A pusher as a client asks for it.
pub(crate) fn draft(push_key: &str, data: Value) -> PusherDraft {
    let draft = json!({
        "kind": "http",
        "app_id": "org.example.app",
        "pushkey": push_key,
        "app_display_name": "App",
        "device_display_name": "Phone",
        "lang": "en",
        "data": data,
    });
    serde_json::from_value(draft).expect("a pusher")
}

/// A process that has begun to send, a gateway, and a room of Alice's with Bob, who has a pusher.
pub(crate) async fn started() -> (Process, Gateway, TestRoom) {
    let gateway = Gateway::start().await;
    let mut process = Process::new(testkit::database().await);
    let room = TestRoom::create(&process.db, &alice()).await;
    room.member(&process.db, &bob(), &bob(), "join").await;
    process.pusher(&bob(), "key", &gateway).await;
    process.begin().await;
    process.start();
    (process, gateway, room)
}

/// Has a user read a room up to an event.
pub(crate) async fn read(
    process: &Process,
    room: &TestRoom,
    user_id: &UserId,
    event_id: &ruma::OwnedEventId,
) {
    let db = &process.db;
    let receipt = room.receipt(db, user_id, "m.read", "", event_id).await;
    testkit::room::commit_changes(db, [receipt]).await;
}
