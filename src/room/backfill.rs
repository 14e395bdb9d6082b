//! Backfill: what is before the known history of a room is asked of other servers, when a user pages
//! back to where it ends, and ahead of that.
//!
//! Spec: server-server, "Backfilling and retrieving missing events". What is filled in has a place in
//! the history, but none in the stream: no client is told of it by `/sync`.

mod fetch;
mod servers;
mod single_event;

use std::{collections::HashSet, time::Duration};

use futures::{StreamExt as _, stream};
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId};
use storage::event_edges::{self, Gap};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use types::{EventNid, HistoryOrder, RoomNid};

use crate::{Error, Rooms, head::Head, room_locks::RoomLocks};

/// How long a client waits for other servers.
pub(crate) const WAIT: Duration = Duration::from_secs(20);
/// The most parents that are asked for at once, and how far their children may stand apart.
const MAX_PARENTS: usize = 10;
const NEAR: i64 = 1_000;
/// How many gaps are filled ahead at once, and how many wait for that.
const PARALLEL: usize = 4;
const MAX_WAITING: usize = 256;
/// How long nothing is tried after a failure: doubled with each one up to the longest pause.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// How long it is known that a server failed or that no server has an event, or knows what is missing,
/// and of how many.
const SERVER_PAUSE: Duration = Duration::from_mins(1);
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_hours(1);

/// What is known of attempts to fill gaps, and the requests to fill them ahead.
#[derive(Debug)]
pub(crate) struct Backfill {
    /// One attempt for a room at a time: others wait for it and look again.
    locks: RoomLocks,
    failures: Cache<EventNid, Failure>,
    failing_servers: Cache<OwnedServerName, ()>,
    /// Events that were asked for by their ids, and that no server has.
    missing_events: Cache<(RoomNid, OwnedEventId), ()>,
    waiting: Mutex<HashSet<RoomNid>>,
    requests: mpsc::Sender<Ahead>,
    received: tokio::sync::Mutex<mpsc::Receiver<Ahead>>,
}

/// A gap that could not be filled.
#[derive(Clone, Copy, Debug)]
struct Failure {
    attempts: u32,
    /// Not before this, in milliseconds since the Unix epoch.
    retry_at: u64,
    /// Whether the servers answered, without what is missing.
    is_final: bool,
}

/// A gap to be filled before somebody comes to it.
#[derive(Debug)]
struct Ahead {
    room_id: OwnedRoomId,
    room_nid: RoomNid,
    gap: Gap,
}

/// What became of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// The history looks different now.
    Changed,
    /// Nothing could be had, and it may be tried again later.
    NotYet,
    /// No server knows more.
    Never,
}

impl Backfill {
    pub(crate) fn new() -> Self {
        let (requests, received) = mpsc::channel(MAX_WAITING);
        Self {
            locks: RoomLocks::default(),
            failures: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(REMEMBERED_FOR)
                .build(),
            failing_servers: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(SERVER_PAUSE)
                .build(),
            missing_events: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(SERVER_PAUSE)
                .build(),
            waiting: Mutex::default(),
            requests,
            received: tokio::sync::Mutex::new(received),
        }
    }

    /// Notes that a gap could not be filled.
    fn note_failure(&self, gap: &Gap, now_ms: u64, is_final: bool) {
        let attempts = (self.failures.get(&gap.child)).map_or(0, |failure| failure.attempts);
        let pause = FIRST_PAUSE.saturating_mul(1 << attempts.min(10));
        let pause = pause.min(LONGEST_PAUSE).as_millis() as u64;
        let failure = Failure {
            attempts: attempts + 1,
            retry_at: now_ms.saturating_add(pause),
            is_final,
        };
        self.failures.insert(gap.child, failure);
    }

    fn enqueue(&self, ahead: Ahead) {
        let room_nid = ahead.room_nid;
        if self.waiting.lock().insert(room_nid) && self.requests.try_send(ahead).is_err() {
            // So much waits already that this one may come when a user does.
            self.waiting.lock().remove(&room_nid);
        }
    }
}

impl Rooms {
    /// Fills gaps ahead of those who page back, until it is cancelled.
    pub async fn fill_ahead(&self) {
        let backfill = &self.0.backfill;
        let mut received = backfill.received.lock().await;
        let requests = stream::poll_fn(|context| received.poll_recv(context));
        requests
            .for_each_concurrent(PARALLEL, |ahead| self.fill_one_ahead(ahead))
            .await;
    }

    async fn fill_one_ahead(&self, ahead: Ahead) {
        self.0.backfill.waiting.lock().remove(&ahead.room_nid);
        if let Err(error) = Box::pin(self.fill_gap(&ahead.room_id, &ahead.gap)).await {
            tracing::warn!(room.id = %ahead.room_id, %error, "A room's history could not be filled ahead");
        }
    }

    /// Has a gap filled by another task, without waiting.
    pub(crate) fn fill_gap_ahead(&self, head: &Head, gap: Gap) {
        self.0.backfill.enqueue(Ahead {
            room_id: head.state.room_id().clone(),
            room_nid: head.room_nid,
            gap,
        });
    }

    /// Fills a gap for a client that waits; whatever fails is no failure of the client's request.
    pub(crate) async fn fill_gap_now(&self, head: &Head, gap: &Gap, deadline: Instant) -> Filled {
        let filling = Box::pin(self.fill_gap(head.state.room_id(), gap));
        match timeout_at(deadline, filling).await {
            Ok(Ok(filled)) => filled,
            Ok(Err(error)) => {
                tracing::warn!(room.id = %head.state.room_id(), %error, "A room's history could not be filled");
                Filled::NotYet
            }
            Err(_) => {
                // So that the work is done once, however slow the servers are.
                self.fill_gap_ahead(head, gap.clone());
                Filled::NotYet
            }
        }
    }

    /// Where the known history of a room ends at or before a place.
    pub(crate) async fn gap_before(
        &self,
        db: &mut storage::Connection,
        head: &Head,
        until: HistoryOrder,
    ) -> Result<Option<Gap>, Error> {
        let gaps = event_edges::gaps(db, head.room_nid, until, 1).await?;
        Ok(gaps.into_iter().next())
    }

    /// Asks servers that are in the room for what is before a gap, one after the other.
    #[tracing::instrument(name = "room.backfill", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    async fn fill_gap(&self, room_id: &RoomId, gap: &Gap) -> Result<Filled, Error> {
        let backfill = &self.0.backfill;
        let lock = backfill.locks.of(room_id);
        let _filling = lock.lock().await;
        let head = self.head(room_id).await?;
        if (self.refusal(&head, &self.0.settings.server_name)).is_some() {
            // Nobody would answer a server that is not in the room.
            return Ok(Filled::Never);
        }
        let parents = {
            let mut db = self.0.database.acquire().await?;
            let (room_nid, until) = (head.room_nid, gap.order);
            event_edges::gaps(&mut db, room_nid, until, MAX_PARENTS as i64).await?
        };
        if parents.first().is_none_or(|first| first.child != gap.child) {
            // Another task has filled it.
            return Ok(Filled::Changed);
        }
        let near = |edge: &&Gap| edge.order.get() >= gap.order.get().saturating_sub(NEAR);
        let parents: Vec<_> = (parents.iter().take_while(near))
            .map(|edge| edge.parent.clone())
            .collect();
        let now = self.0.clock.now_ms();
        if let Some(failure) = backfill.failures.get(&gap.child)
            && now < failure.retry_at
        {
            return Ok(if failure.is_final {
                Filled::Never
            } else {
                Filled::NotYet
            });
        }
        let (added, is_final) = self.fill_from_any(&head, gap, &parents).await?;
        if added > 0 {
            backfill.failures.invalidate(&gap.child);
            return Ok(Filled::Changed);
        }
        backfill.note_failure(gap, now, is_final);
        Ok(if is_final {
            Filled::Never
        } else {
            Filled::NotYet
        })
    }
}
