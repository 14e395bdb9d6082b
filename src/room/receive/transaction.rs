//! Transactions of events: rooms in parallel, the events of one room in their order.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, stream};
use moka::future::Cache;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedTransactionId, RoomId, ServerName,
    TransactionId,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::inbox::NewBatch;
use tokio::time::{Instant, timeout_at};
use types::{ErrorKind, Fault as _};

use super::{EventResult, parse};
use crate::{
    Error, Rooms,
    outliers::{RoomIdentity, blocking},
};

/// The most rooms of a transaction that are received at once.
const PARALLEL_ROOMS: usize = 8;
/// For how long, and how many, results are kept for transactions that are sent again.
const KEPT_FOR: Duration = Duration::from_mins(10);
const KEPT: u64 = 1_000;

type TransactionResults = BTreeMap<OwnedEventId, EventResult>;

/// The transactions that were received lately. Events are received once in any case: what is kept
/// here saves the work.
#[derive(Debug)]
pub(crate) struct ReceivedTransactions(
    Cache<(OwnedServerName, OwnedTransactionId), Arc<TransactionResults>>,
);

/// A transaction that is being received.
#[derive(Clone, Copy, Debug)]
struct Transaction<'a> {
    origin: &'a ServerName,
    id: &'a TransactionId,
    /// When it is answered, whatever has been taken in.
    deadline: Instant,
}

impl Default for ReceivedTransactions {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(KEPT).time_to_live(KEPT_FOR);
        Self(cache.build())
    }
}

impl Rooms {
    /// Receives the events of a transaction of another server. A transaction that is sent again
    /// gets the same answer. Fails if it should be sent again.
    ///
    /// What takes long in one room is stored and taken in behind; of such events it is only said that
    /// they have arrived.
    pub async fn receive_transaction(
        &self,
        origin: &ServerName,
        transaction_id: &TransactionId,
        events: Vec<Box<RawValue>>,
    ) -> Result<BTreeMap<OwnedEventId, EventResult>, Error> {
        let key = (origin.to_owned(), transaction_id.to_owned());
        let received = &self.0.received_transactions.0;
        if let Some(results) = received.get(&key).await {
            return Ok(TransactionResults::clone(&results));
        }
        let transaction = Transaction {
            origin,
            id: transaction_id,
            deadline: Instant::now() + self.0.settings.receive_time,
        };
        let results = self.receive_rooms(transaction, events).await?;
        received.insert(key, Arc::new(results.clone())).await;
        Ok(results)
    }

    async fn receive_rooms(
        &self,
        transaction: Transaction<'_>,
        events: Vec<Box<RawValue>>,
    ) -> Result<TransactionResults, Error> {
        let mut rooms: HashMap<OwnedRoomId, Vec<Box<RawValue>>> = HashMap::new();
        for event in events {
            if let Some(room_id) = room_id(&event) {
                rooms.entry(room_id).or_default().push(event);
            }
        }
        let received = rooms.into_iter();
        let received = received
            .map(|(room_id, events)| self.receive_room(transaction, room_id, events).boxed());
        let received: Vec<_> = stream::iter(received)
            .buffer_unordered(PARALLEL_ROOMS)
            .collect()
            .await;
        let mut results = TransactionResults::new();
        for (room_id, received) in received {
            match received {
                Ok(received) => results.extend(received),
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => {
                    tracing::warn!(room.id = %room_id, server.name = %transaction.origin, %error, "Events of a room could not be received");
                }
            }
        }
        Ok(results)
    }

    async fn receive_room(
        &self,
        transaction: Transaction<'_>,
        room_id: OwnedRoomId,
        events: Vec<Box<RawValue>>,
    ) -> (OwnedRoomId, Result<Vec<(OwnedEventId, EventResult)>, Error>) {
        let received = self.receive_or_defer(transaction, &room_id, events).await;
        (room_id, received)
    }

    /// Receives events of a room, or stores them if that takes long or others wait there.
    async fn receive_or_defer(
        &self,
        transaction: Transaction<'_>,
        room_id: &RoomId,
        events: Vec<Box<RawValue>>,
    ) -> Result<Vec<(OwnedEventId, EventResult)>, Error> {
        if !self.0.inbox.has(room_id) {
            let received = self.receive(transaction.origin, room_id, events.clone());
            if let Ok(received) = timeout_at(transaction.deadline, Box::pin(received)).await {
                return received;
            }
        }
        let head = self.head(room_id).await?;
        let pdus = serde_json::to_string(&events);
        let pdus = pdus.map_err(|error| Error::BadContent(error.to_string()))?;
        let room = RoomIdentity::of(&head);
        let arrived = blocking(move || parse(&room, &events)).await?;
        self.defer(NewBatch {
            room_id,
            origin: transaction.origin,
            transaction_id: transaction.id,
            pdus: &pdus,
        })
        .await?;
        Ok(arrived.into_iter().map(|id| (id, Ok(()))).collect())
    }

    /// Whether a server may take part in a room, as far as the room is known and its access control
    /// list says.
    pub async fn allows_server(
        &self,
        room_id: &RoomId,
        server: &ServerName,
    ) -> Result<bool, Error> {
        match self.head(room_id).await {
            Ok(head) => Ok(self.refusal(&head, server).is_none()),
            Err(Error::UnknownRoom) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The room that an event names.
fn room_id(event: &RawValue) -> Option<OwnedRoomId> {
    #[derive(Deserialize)]
    struct Event {
        room_id: OwnedRoomId,
    }
    let event: Event = serde_json::from_str(event.get()).ok()?;
    Some(event.room_id)
}
