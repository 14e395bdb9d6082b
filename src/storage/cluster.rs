//! The other server processes on the same database: messages from and to them.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    time::Instant,
};
use types::{EphemeralPosition, RoomNid, StreamPosition};

use crate::{Connection, Database, Error, sessions::TokenHash};

mod liveness;
mod notify;

pub(crate) use notify::{listen, notify};

/// Messages that a subscriber may be behind.
const EVENT_CAPACITY: usize = 1024;

/// The database's clock is read again if its answer took longer than this, but only so many times.
const LONG_ROUND_TRIP: Duration = Duration::from_millis(50);
const MAX_CLOCK_READS: usize = 5;

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
    /// What a process knows of the presence of users.
    Presence(PresenceMessage),
    /// Asks the other processes for what they know of the presence of users.
    RequestPresence,
    /// A user has set a pusher.
    PusherSet(OwnedUserId),
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

/// What a process knows of the presence of users; without users it says that the process is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceMessage {
    /// The process, by its number.
    pub process: i64,
    /// The users.
    pub users: Vec<SharedPresence>,
}

/// What a process knows of the presence of a user. Times are milliseconds of the database's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPresence {
    /// The user.
    pub user_id: OwnedUserId,
    /// What the devices that the process serves ask for together; of a user of another server, what
    /// that server says.
    pub state: PresenceState,
    /// Whether the other server says that its user is active.
    pub currently_active: bool,
    /// The last activity.
    pub last_active: Option<i64>,
    /// The status message.
    pub status_msg: Option<String>,
    /// When the status message was set; 0 if it never was.
    pub status_set: i64,
    /// Whether the user is one of another server.
    pub is_remote: bool,
}

/// Whether a user is online.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// Not connected, or hidden.
    #[default]
    Offline,
    /// Connected, but idle.
    Unavailable,
    /// Connected.
    Online,
}

impl PresenceState {
    /// The state as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Unavailable => "unavailable",
            Self::Online => "online",
        }
    }
}

/// What a subscriber to the messages of other processes receives.
#[derive(Clone, Debug)]
pub enum PeerEvent {
    /// Another process published a message. Those of one process arrive in their order.
    Message(Arc<Message>),
    /// Messages may have been missed: the listener has connected, or this subscriber was too slow.
    /// What was learned from messages before is to be forgotten, or asked for again.
    Resync,
}

/// The messages of other processes, for one subscriber, in the order in which they arrive.
///
/// Bounded: a subscriber that is too far behind misses the oldest ones and receives
/// [`PeerEvent::Resync`] in their place.
#[derive(Debug)]
pub struct PeerEvents(broadcast::Receiver<PeerEvent>);

impl PeerEvents {
    /// Waits for the next one; `None` when the database handle is gone.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "A subscriber missed messages of other processes");
                metrics::counter!("chancery_storage_peer_messages_missed_total").increment(missed);
                Some(PeerEvent::Resync)
            }
            Err(RecvError::Closed) => None,
        }
    }
}

/// What is sent to the other processes.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Committed(StreamPosition),
    Message(Message),
}

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

impl Process {
    /// The time by the database's clock, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        let since_opened = i64::try_from(self.opened.elapsed().as_millis());
        self.opened_ms
            .saturating_add(since_opened.unwrap_or(i64::MAX))
    }

    /// Draws a number and reads the database's clock. Also returns how long the answer took: the time
    /// that was read is that of its middle, give or take half of it.
    async fn open(db: &mut Connection) -> Result<(Self, Duration), Error> {
        let asked = Instant::now();
        let row = sqlx::query!(
            r#"SELECT nextval('nids') AS "number!",
                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS "opened_ms!""#
        )
        .fetch_one(db)
        .await?;
        let round_trip = asked.elapsed();
        let process = Self {
            number: row.number,
            opened_ms: row.opened_ms,
            opened: asked + round_trip / 2,
        };
        Ok((process, round_trip))
    }
}

/// The channels to the subscribers in this process, and to the task that notifies the other processes.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    process: Process,
    events: broadcast::Sender<PeerEvent>,
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
        let (mut process, mut round_trip) = Process::open(db).await?;
        for _ in 1..MAX_CLOCK_READS {
            if round_trip <= LONG_ROUND_TRIP {
                break;
            }
            let (again, its_round_trip) = Process::open(db).await?;
            if its_round_trip < round_trip {
                (process, round_trip) = (again, its_round_trip);
            }
        }
        Ok(Self::new(process))
    }

    fn new(process: Process) -> Self {
        Self(Arc::new(Inner {
            process,
            events: broadcast::Sender::new(EVENT_CAPACITY),
            outgoing: Mutex::default(),
        }))
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

    fn subscribe(&self) -> PeerEvents {
        PeerEvents(self.0.events.subscribe())
    }

    /// Hands an event to all subscribers in this process.
    pub(crate) fn notify_subscribers(&self, event: PeerEvent) {
        // Perhaps there are none.
        let _subscribers = self.0.events.send(event);
    }
}

impl Database {
    /// Subscribes to the messages of other processes that arrive from here on.
    pub fn subscribe(&self) -> PeerEvents {
        self.cluster().subscribe()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscriber_that_is_too_slow_resyncs_and_goes_on_in_order() {
        let cluster = Cluster::new(Process {
            number: 1,
            opened_ms: 0,
            opened: Instant::now(),
        });
        let mut events = cluster.subscribe();
        let sent = EVENT_CAPACITY + 10;
        for number in 0..sent {
            let message = Message::TokensEnded(vec![[(number % 251) as u8; 32]]);
            cluster.notify_subscribers(PeerEvent::Message(Arc::new(message)));
        }
        assert!(matches!(events.next().await, Some(PeerEvent::Resync)));
        for number in 10..sent {
            let Some(PeerEvent::Message(message)) = events.next().await else {
                panic!("a message is missing");
            };
            let expected = Message::TokensEnded(vec![[(number % 251) as u8; 32]]);
            assert_eq!(*message, expected);
        }
        drop(cluster);
        assert!(events.next().await.is_none());
    }
}
