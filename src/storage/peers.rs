//! The other processes on the same database: what is heard of them, and what they are told.

use std::{fmt, sync::Arc};

use parking_lot::{Mutex, RwLock};
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use types::{EphemeralPosition, RoomNid, StreamPosition};

use crate::{Change, Connection, Database, Error, sessions::TokenHash};

mod wire;

pub(crate) use wire::{listen, tell};

/// What one process tells the others beside the stream. It may be lost: whoever hears it must do
/// without it, only less well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Access tokens with these hashes, at most 50, are no longer valid.
    TokensEnded(Vec<TokenHash>),
    /// A user begins to type in a room, or stops.
    Typing {
        /// The room.
        room_nid: RoomNid,
        /// Who.
        user_id: OwnedUserId,
        /// Whether the user types.
        types: bool,
        /// When it changed, as the process counts that says so.
        position: EphemeralPosition,
    },
    /// Tell who types, as far as they told you.
    WhoTypes,
}

/// What is heard of other processes.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// A stretch of the stream was read from the tables, since another process wrote it or a part
    /// of it. Nothing of the stream is missed.
    Changes(&'a [(StreamPosition, Change)]),
    /// Another process said something.
    Message(&'a Message),
    /// Messages are heard from now on; earlier ones may have been missed.
    Listening,
}

/// What is to be told.
#[derive(Debug)]
pub(crate) enum Said {
    Committed(StreamPosition),
    Message(Message),
}

type Ear = Box<dyn Fn(Heard<'_>) + Send + Sync>;

/// This process among the others on the database.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// A number that no other one has or had.
    pub number: i64,
    /// When it opened the database, by the database's clock, in milliseconds since the epoch.
    pub opened_ms: i64,
}

/// Who listens in this process, and the way to the task that tells the others.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

struct Inner {
    process: Process,
    ears: RwLock<Vec<Ear>>,
    /// None while nobody would pass it on.
    to_tell: Mutex<Option<mpsc::UnboundedSender<Said>>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&self.0.process).finish()
    }
}

impl Peers {
    /// Becomes one of the processes on the database.
    pub(crate) async fn enter(db: &mut Connection) -> Result<Self, Error> {
        let process = sqlx::query_as!(
            Process,
            r#"SELECT nextval('nids') AS "number!",
                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS "opened_ms!""#
        )
        .fetch_one(db)
        .await?;
        Ok(Self(Arc::new(Inner {
            process,
            ears: RwLock::default(),
            to_tell: Mutex::default(),
        })))
    }

    /// What is said from now on is to be told by whoever holds the other end.
    pub(crate) fn connect(&self) -> mpsc::UnboundedReceiver<Said> {
        let (said, to_tell) = mpsc::unbounded_channel();
        *self.0.to_tell.lock() = Some(said);
        to_tell
    }

    /// Says something to the other processes, if this one is connected with them.
    pub(crate) fn say(&self, said: Said) {
        if let Some(to_tell) = &*self.0.to_tell.lock() {
            // Without the task nobody is told; a heartbeat or a lifetime covers that, too.
            let _ended = to_tell.send(said);
        }
    }

    /// Tells everybody in this process what was heard.
    pub(crate) fn spread(&self, heard: Heard<'_>) {
        for ear in &*self.0.ears.read() {
            ear(heard);
        }
    }
}

impl Database {
    /// Has `ear` called with all that is heard of other processes from now on, after those that
    /// were handed in before it. It must not wait.
    ///
    /// It lives as long as the database handle, of which it must hold no clone. Changes are
    /// heard before [`committed`](Self::committed) says so, and before the feed hands them out.
    pub fn hear(&self, ear: impl Fn(Heard<'_>) + Send + Sync + 'static) {
        self.peers().0.ears.write().push(Box::new(ear));
    }

    /// Tells the other processes something, in a moment and without a promise.
    pub fn tell(&self, message: Message) {
        self.peers().say(Said::Message(message));
    }

    /// This process among the others on the database.
    pub fn process(&self) -> Process {
        self.peers().0.process
    }
}
