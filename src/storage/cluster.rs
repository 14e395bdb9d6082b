//! The other server processes on the same database: messages from and to them.

use std::{fmt, sync::Arc};

use parking_lot::{Mutex, RwLock};
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};
use types::{EphemeralPosition, RoomNid, StreamPosition};

use crate::{Change, Connection, Database, Error, sessions::TokenHash};

mod notify;

pub(crate) use notify::{listen, notify};

/// A message between processes, beside the stream. Delivery is best effort: a lost message may cost
/// freshness, never correctness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Access tokens with these hashes, at most 50, are no longer valid.
    TokensEnded(Vec<TokenHash>),
    /// A change of the typing users of a room.
    Typing(TypingMessage),
    /// Asks the other processes for the typing users that they are responsible for.
    RequestTyping,
}

/// What became of the entry of a process in the typing users of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypingMessage {
    /// The process, by its number.
    pub process: i64,
    /// The room.
    pub room_nid: RoomNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// What happened.
    pub typing: Typing,
    /// The ephemeral position of the change at that process.
    pub position: EphemeralPosition,
}

/// What happens to an entry of the typing users of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Typing {
    /// The user started or goes on typing.
    Started,
    /// The user asked to stop: the entries of all processes end.
    Stopped,
    /// The process's own entry ended.
    Ended,
}

/// An event that subscribers in this process are notified of.
#[derive(Clone, Copy, Debug)]
pub enum PeerEvent<'a> {
    /// A batch of changes was read from the tables, because another process wrote all or some of
    /// them. None are skipped.
    Changes(&'a [(StreamPosition, Change)]),
    /// Another process published a message.
    Message(&'a Message),
    /// The listener is connected; messages sent before may have been missed.
    Listening,
}

/// What is sent to the other processes.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Committed(StreamPosition),
    Message(Message),
}

type Subscriber = Box<dyn Fn(PeerEvent<'_>) + Send + Sync>;

/// The identity of this process in the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// A number that no other process has or had.
    pub number: i64,
    /// When it opened the database, by the database's clock, in milliseconds since the epoch.
    pub opened_ms: i64,
    /// The same time on the clock of this machine.
    pub opened: Instant,
}

/// The subscribers in this process, and the channel to the task that notifies the other processes.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    process: Process,
    subscribers: RwLock<Vec<Subscriber>>,
    /// `None` until the sending task is created.
    outgoing: Mutex<Option<mpsc::UnboundedSender<Outgoing>>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(&self.0.process).finish()
    }
}

impl Cluster {
    /// Registers this process with the database.
    pub(crate) async fn register(db: &mut Connection) -> Result<Self, Error> {
        let row = sqlx::query!(
            r#"SELECT nextval('nids') AS "number!",
                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS "opened_ms!""#
        )
        .fetch_one(db)
        .await?;
        let process = Process {
            number: row.number,
            opened_ms: row.opened_ms,
            opened: Instant::now(),
        };
        Ok(Self(Arc::new(Inner {
            process,
            subscribers: RwLock::default(),
            outgoing: Mutex::default(),
        })))
    }

    /// Opens the queue of outgoing messages; the sending task takes the receiver.
    pub(crate) fn connect(&self) -> mpsc::UnboundedReceiver<Outgoing> {
        let (sender, outgoing) = mpsc::unbounded_channel();
        *self.0.outgoing.lock() = Some(sender);
        outgoing
    }

    /// Queues a message for the other processes; dropped if the sending task is not running.
    pub(crate) fn send(&self, message: Outgoing) {
        if let Some(outgoing) = &*self.0.outgoing.lock() {
            // A heartbeat or a cache lifetime covers a message that is not sent.
            let _ended = outgoing.send(message);
        }
    }

    /// Calls all subscribers in this process.
    pub(crate) fn notify_subscribers(&self, event: PeerEvent<'_>) {
        for subscriber in &*self.0.subscribers.read() {
            subscriber(event);
        }
    }
}

impl Database {
    /// Registers a callback for the events of other processes. Callbacks run in the order of
    /// registration and must not block.
    ///
    /// It lives as long as the database handle and must not hold a clone of it. Changes are
    /// delivered before [`committed`](Self::committed) advances and before the feed yields them.
    pub fn subscribe(&self, subscriber: impl Fn(PeerEvent<'_>) + Send + Sync + 'static) {
        self.cluster()
            .0
            .subscribers
            .write()
            .push(Box::new(subscriber));
    }

    /// Publishes a message to the other processes, asynchronously and with best effort.
    pub fn publish(&self, message: Message) {
        self.cluster().send(Outgoing::Message(message));
    }

    /// The identity of this process in the cluster.
    pub fn process(&self) -> Process {
        self.cluster().0.process
    }
}
