//! Turns of processes in a room that several of them write to.
//!
//! What guards a room is the comparison of its head with every write; a turn keeps processes from
//! losing by it to each other. It is a lock in the database, for which processes queue. While a
//! process has it, it writes as it does to any other room, one batch after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use live::PinnedState;
use ruma::RoomId;
use storage::{
    CommitError, Tx,
    committer::WriteSet,
    room_locks::{self, LockedHead},
    stream,
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, timeout},
};
use types::StreamPosition;

use crate::{Error, Rooms, head::Head, heads::HeadEntry};

/// How long a turn waits for the feed, before it reads the room itself.
const FEED_TIMEOUT: Duration = Duration::from_secs(5);

/// How long others wait for a process that goes on writing.
const MAX_TURN: Duration = Duration::from_millis(40);

/// A turn in which nothing was written for so long ends.
const IDLE: Duration = Duration::from_millis(3);

/// A turn of this process in a room.
#[derive(Debug)]
pub(crate) struct Turn {
    phase: watch::Sender<Phase>,
    /// How many writes there were, and how many of them have not ended.
    writes: AtomicU64,
    unfinished: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Nothing is to be written in it any more.
    Over,
    /// Nothing can be written in it any more.
    Closed,
}

/// A write in a turn, until it has ended.
#[derive(Debug)]
pub(crate) struct TurnWrite(Arc<Turn>);

/// What a process has during its turn.
struct HeldTurn {
    tx: Tx,
    _pinned: PinnedState,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Open),
            writes: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
        }
    }

    /// Has it end before its time.
    pub(crate) fn end(&self) {
        self.advance(Phase::Over);
    }

    /// Whether nothing is to be written in it any more.
    pub(crate) fn is_over(&self) -> bool {
        *self.phase.borrow() >= Phase::Over
    }

    /// Waits until nothing can be written in it any more.
    pub(crate) async fn closed(&self) {
        self.reached(Phase::Closed).await;
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_later = to > *phase;
            *phase = to.max(*phase);
            is_later
        });
    }

    async fn reached(&self, wanted: Phase) {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as the turn.
        let _alive = phase.wait_for(|phase| *phase >= wanted).await;
    }

    /// Waits until it should end: its time is over, or nothing is written in it.
    async fn should_end(&self) {
        let until = Instant::now() + MAX_TURN;
        let mut seen = 0;
        while Instant::now() < until {
            if timeout(IDLE, self.reached(Phase::Over)).await.is_ok() {
                return;
            }
            let writes = self.writes.load(Ordering::Acquire);
            if writes == seen && self.unfinished.load(Ordering::Acquire) == 0 {
                return;
            }
            seen = writes;
        }
    }
}

impl TurnWrite {
    pub(crate) fn new(turn: Arc<Turn>) -> Self {
        turn.writes.fetch_add(1, Ordering::AcqRel);
        turn.unfinished.fetch_add(1, Ordering::AcqRel);
        Self(turn)
    }

    /// Another process wrote to the room meanwhile.
    pub(crate) fn lost(&self) {
        self.0.end();
    }
}

impl Drop for TurnWrite {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Rooms {
    /// Waits for this process's turn in a room, which is locked in this process, and until what
    /// other processes wrote last is known. No turn is left open if no other process writes to the
    /// room any more.
    #[tracing::instrument(name = "room.turn", level = "debug", skip_all)]
    pub(crate) async fn take_turn(
        &self,
        room_id: &RoomId,
        entry: &Arc<HeadEntry>,
        pending: &mut Option<Head>,
    ) -> Result<(), Error> {
        let acquired = Arc::clone(&self.0.turns).acquire_owned().await;
        let permit = acquired.map_err(|_| CommitError::Stopping)?;
        // Loaded before the lock is taken, and kept.
        let pinned = self.0.live.pin_room_state(room_id).await?;
        let pinned = pinned.ok_or(Error::UnknownRoom)?;
        let mut tx = self.0.database.begin_turn().await?;
        match room_locks::take_turn(&mut tx, room_id).await {
            Err(error) if error.is_lock_timeout() => {
                tracing::warn!(room.id = %room_id, "Another process does not end its turn; writing without one");
                entry.set_contended(false);
                return Ok(());
            }
            taken => taken?,
        }
        // Who writes to the room without a turn loses meanwhile, and waits for one.
        let locked = room_locks::hold(&mut tx, room_id).await?;
        let locked = locked.ok_or(Error::UnknownRoom)?;
        self.locked_head(&mut tx, room_id, &pinned, locked).await?;
        room_locks::release(&mut tx).await?;
        entry.discard_head(pending);
        if locked.writer == self.0.database.process().number {
            // Nobody else wrote since.
            entry.set_contended(false);
            return Ok(tx.commit().await?);
        }
        let turn = Arc::new(Turn::new());
        entry.open_turn(Arc::clone(&turn));
        let held = HeldTurn {
            tx,
            _pinned: pinned,
            _permit: permit,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a turn is longer than the request that opens it, and ends by itself"
        )]
        tokio::spawn(self.clone().keep_turn(Arc::clone(entry), turn, held));
        Ok(())
    }

    /// Ends a turn when it should, and after what was written in it.
    async fn keep_turn(self, entry: Arc<HeadEntry>, turn: Arc<Turn>, held: HeldTurn) {
        turn.should_end().await;
        turn.end();
        let pending = entry.pending.lock().await;
        entry.close_turn();
        drop(pending);
        turn.advance(Phase::Closed);
        let writes = turn.writes.load(Ordering::Acquire);
        tracing::debug!(writes, "A turn ends");
        if writes < 2 {
            // Few requests: those that lose to another process can afford it.
            entry.set_contended(false);
        }
        // If it fails, writes of this turn may lose to those of the next one.
        let _decided = self.submitted_writes_decided().await;
        if let Err(error) = held.tx.commit().await {
            tracing::debug!(%error, "A turn ended with its connection");
        }
    }

    /// Waits until all that was submitted to the committer so far is durable or has failed; returns a
    /// position that has all that is durable.
    pub(crate) async fn submitted_writes_decided(&self) -> Result<StreamPosition, CommitError> {
        // Write sets are written in the order of submission.
        let nothing = WriteSet::default();
        self.0.committer.submit(nothing).await.durable().await
    }

    /// The head of a room that is locked in the database: that in memory, once the feed has brought
    /// what another process wrote last.
    pub(crate) async fn locked_head(
        &self,
        tx: &mut Tx,
        room_id: &RoomId,
        pinned: &PinnedState,
        locked: LockedHead,
    ) -> Result<Head, Error> {
        let current = || {
            pinned
                .state()
                .filter(|state| state.revision() == locked.revision)
        };
        if let Some(state) = current() {
            return Head::new(state);
        }
        let position = stream::position(tx).await?;
        self.0.database.note_committed(position);
        let applied = self.0.live.wait_until_applied(position);
        if timeout(FEED_TIMEOUT, applied).await.is_ok()
            && let Some(state) = current()
        {
            return Head::new(state);
        }
        tracing::warn!(room.id = %room_id, "The feed did not bring what is in the database");
        let state = self.0.live.reload_state(tx, room_id).await?;
        Head::new(Arc::new(state.ok_or(Error::UnknownRoom)?))
    }
}
