//! Another server that records transactions, and processes of this one that send to it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, http::Response};
use delivery::{Delivery, Settings};
use event::Signer;
use federation::{Federation, OwnKeys};
use parking_lot::Mutex;
use ruma::{OwnedUserId, owned_user_id};
use serde_json::Value;
use testkit::{
    HttpsServer, ReceivedRequest, TestCa, TestDatabase, Writer, room::TestRoom, server_name,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use types::Clock;

pub(crate) const REMOTE: &str = "remote.localhost";

pub(crate) fn alice() -> OwnedUserId {
    owned_user_id!("@alice:test.localhost")
}

pub(crate) fn bob() -> OwnedUserId {
    owned_user_id!("@bob:remote.localhost")
}

/// What the other server does with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Accepts it.
    Accept,
    /// Answers that it cannot now.
    Fail,
    /// Does not answer.
    Hang,
    /// Refuses transactions in which this text is, and accepts the others.
    Refuse(&'static str),
}

/// A transaction as the other server has received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) id: String,
    pub(crate) pdus: Vec<Value>,
    pub(crate) edus: Vec<Value>,
}

impl Transaction {
    /// The bodies of the messages in it.
    pub(crate) fn messages(&self) -> Vec<String> {
        let bodies = self.pdus.iter();
        bodies
            .filter_map(|pdu| Some(pdu["content"]["body"].as_str()?.to_owned()))
            .collect()
    }
}

/// The other server.
pub(crate) struct Remote {
    ca: TestCa,
    address: SocketAddr,
    server: Option<HttpsServer>,
    answer: Arc<Mutex<Answer>>,
    sender: UnboundedSender<Transaction>,
    transactions: UnboundedReceiver<Transaction>,
}

impl Remote {
    pub(crate) async fn start() -> Self {
        let ca = TestCa::new();
        let (sender, transactions) = unbounded_channel();
        let answer = Arc::new(Mutex::new(Answer::Accept));
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = serve(free, &ca, &answer, &sender).await;
        Self {
            ca,
            address: server.address(),
            server: Some(server),
            answer,
            sender,
            transactions,
        }
    }

    /// Ends the server with all connections.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again at its address.
    pub(crate) async fn restart(&mut self) {
        self.server = Some(serve(self.address, &self.ca, &self.answer, &self.sender).await);
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    /// The next transaction that arrives.
    pub(crate) async fn next(&mut self) -> Transaction {
        self.transactions.recv().await.expect("a transaction")
    }

    /// A transaction that has arrived.
    pub(crate) fn next_now(&mut self) -> Option<Transaction> {
        self.transactions.try_recv().ok()
    }

    /// The messages that arrive until one of this body has.
    pub(crate) async fn messages_until(&mut self, last: &str) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.last().is_none_or(|message| message != last) {
            messages.extend(self.next().await.messages());
        }
        messages
    }

    pub(crate) fn settings(&self) -> config::Federation {
        self.settings_with("")
    }

    /// The settings of this server with more about the other one.
    pub(crate) fn settings_with(&self, more: &str) -> config::Federation {
        toml::from_str(&format!(
            "mode = 'open'
             ca_file = '{}'
             allowed_networks = ['127.0.0.0/8']
             dns_servers = ['127.0.0.1:1']
             [peers.'{REMOTE}']
             address = '{}'
             host = '{REMOTE}'
             {more}",
            self.ca.file().display(),
            self.address
        ))
        .expect("settings")
    }
}

async fn serve(
    address: SocketAddr,
    ca: &TestCa,
    answer: &Arc<Mutex<Answer>>,
    sender: &UnboundedSender<Transaction>,
) -> HttpsServer {
    let (answer, sender) = (Arc::clone(answer), sender.clone());
    HttpsServer::start_at(address, ca, &[REMOTE], move |received| {
        let _unwatched = sender.send(transaction(received));
        let status = |status| {
            let response = Response::builder().status(status).body(Body::empty());
            response.expect("a response")
        };
        let text = String::from_utf8_lossy(&received.body);
        let body = match *answer.lock() {
            Answer::Refuse(refused) if text.contains(refused) => return status(400),
            Answer::Accept | Answer::Refuse(_) => Body::from(r#"{"pdus":{}}"#),
            Answer::Hang => {
                Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>())
            }
            Answer::Fail => return status(503),
        };
        Response::new(body)
    })
    .await
}

fn transaction(received: &ReceivedRequest) -> Transaction {
    let id = received.target.strip_prefix("/_matrix/federation/v1/send/");
    let mut body: Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(body["origin"], server_name().as_str());
    let mut list = |name: &str| match body[name].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    Transaction {
        id: id.expect("a transaction").to_owned(),
        pdus: list("pdus"),
        edus: list("edus"),
    }
}

/// A process of this server; it is killed when it is dropped.
pub(crate) struct Process {
    pub(crate) db: Writer,
    pub(crate) delivery: Delivery,
    pub(crate) federation: Federation,
    stopping: CancellationToken,
    tasks: JoinSet<()>,
}

impl Process {
    /// Opens the database; nothing is sent yet.
    pub(crate) fn new(test: TestDatabase, remote: &Remote) -> Self {
        Self::with_pause(test, remote, Duration::from_millis(50))
    }

    /// The same with another pause after a failure.
    pub(crate) fn with_pause(test: TestDatabase, remote: &Remote, pause: Duration) -> Self {
        Self::with(test, &remote.settings(), |settings| Settings {
            first_pause: pause,
            max_pause: pause,
            ..settings
        })
    }

    /// The same with a lease that need not be renewed during a test.
    pub(crate) fn with_lease(test: TestDatabase, remote: &Remote) -> Self {
        let lease = Duration::from_hours(1);
        Self::with(test, &remote.settings(), |settings| Settings {
            lease,
            ..settings
        })
    }

    /// Opens the database with settings of its own.
    pub(crate) fn with(
        test: TestDatabase,
        settings: &config::Federation,
        change: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let (db, mut feed) = test.split();
        let (signer, _) = Signer::generate(&server_name()).expect("a key");
        let federation = Federation::new(
            &server_name(),
            settings,
            OwnKeys::new(signer, Duration::from_hours(1)),
            db.database.clone(),
            Clock::fixed(1_700_000_000_000),
        );
        let federation = federation.expect("a client");
        let settings = Settings {
            first_pause: Duration::from_millis(50),
            max_pause: Duration::from_millis(50),
            lease: Duration::from_millis(600),
            max_waiting: 60,
            ..Settings::new(&server_name(), settings)
        };
        let delivery = Delivery::new(change(settings), db.database.clone(), federation.clone());
        let mut tasks = JoinSet::new();
        let live = db.live.clone();
        tasks.spawn(async move { live.run(&mut feed).await.expect("the stream") });
        Self {
            db,
            delivery,
            federation,
            stopping: CancellationToken::new(),
            tasks,
        }
    }

    pub(crate) fn follow(&mut self) {
        let (delivery, stopping) = (self.delivery.clone(), self.stopping.clone());
        self.tasks
            .spawn(async move { delivery.follow(stopping).await.expect("followed") });
    }

    pub(crate) fn send(&mut self) {
        let (delivery, stopping) = (self.delivery.clone(), self.stopping.clone());
        self.tasks.spawn(async move {
            let Ok(()) = delivery.send(stopping).await;
        });
    }

    /// Runs something else until the process is killed.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Does both.
    pub(crate) fn start(&mut self) {
        self.follow();
        self.send();
    }
}

/// A process that has begun to send, and a room with a user of the other server.
pub(crate) async fn started(remote: &Remote) -> (Process, TestRoom) {
    let mut process = Process::new(testkit::database().await, remote);
    let room = joined(&process.db).await;
    process.start();
    (process, room)
}

/// A room with a user of the other server.
pub(crate) async fn joined(db: &Writer) -> TestRoom {
    // Where the follower begins: it may start after the first message.
    let mut connection = db.database.acquire().await.expect("a connection");
    storage::cursors::insert(&mut connection, "delivery", types::StreamPosition(0))
        .await
        .expect("a cursor");
    let room = TestRoom::create(db, &alice()).await;
    room.member(db, &bob(), &bob(), "join").await;
    room
}

/// Waits until all that was committed so far is in the queues.
pub(crate) async fn followed(db: &Writer) {
    let mut connection = db.database.acquire().await.expect("a connection");
    let committed = storage::stream::position(&mut connection).await;
    let committed = committed.expect("a position");
    loop {
        let cursor = storage::cursors::find(&mut connection, "delivery").await;
        if cursor.expect("a cursor") >= Some(committed) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until nothing waits for other servers.
pub(crate) async fn idle(db: &Writer) {
    loop {
        let mut connection = db.database.acquire().await.expect("a connection");
        let counts = storage::destinations::counts(&mut connection)
            .await
            .expect("counts");
        if counts.active + counts.failing == 0 && counts.idle > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}
