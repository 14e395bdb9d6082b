//! The rooms that are being written to: each with its lock, and the head that its writes lead to.
//!
//! What is committed is in `live`. A head is held here only while it is ahead of that.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};
use tokio::sync::MutexGuard;
use types::StreamPosition;

use crate::{
    head::Head,
    turn::{Turn, TurnWrite},
};

/// A room's lock, and its head while writes are on their way.
#[derive(Debug, Default)]
pub(crate) struct HeadEntry {
    /// The head with all writes of this process; none while `live` has them all.
    pub(crate) pending: tokio::sync::Mutex<Option<Head>>,
    /// The last revision that this process knows to be durable.
    durable: Mutex<Durable>,
    /// Whether other processes have written to the room lately.
    is_contended: AtomicBool,
    /// How many pending heads were discarded. Changes with `pending` locked.
    discarded: AtomicU64,
    /// The turn of this process, while it writes to the room with others. Changes with `pending` locked.
    turn: Mutex<Option<Arc<Turn>>>,
}

/// A revision that is in the database, with the position of its last change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Durable {
    pub(crate) revision: i64,
    pub(crate) position: StreamPosition,
}

/// The rooms in use.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    in_use: Mutex<InUse>,
    /// Rooms whose writes are durable, until `live` has applied them; by position.
    settling: Mutex<VecDeque<(StreamPosition, Arc<HeadEntry>)>>,
}

#[derive(Debug, Default)]
struct InUse {
    heads: HashMap<OwnedRoomId, Weak<HeadEntry>>,
    /// The number of entries at which dropped ones are pruned.
    prune_at: usize,
}

impl Heads {
    /// The entry of a room.
    pub(crate) fn get(&self, room_id: &RoomId) -> Arc<HeadEntry> {
        self.in_use.lock().get(room_id)
    }

    /// Keeps the entry of a room that has become durable at a position, until `live` has applied
    /// that; lets go of those that it has applied by now.
    pub(crate) fn settle(
        &self,
        entry: &Arc<HeadEntry>,
        position: StreamPosition,
        applied: StreamPosition,
    ) {
        let mut settling = self.settling.lock();
        settling.push_back((position, entry.clone()));
        while let Some((first, _)) = settling.front()
            && *first <= applied
        {
            settling.pop_front();
        }
    }
}

impl HeadEntry {
    /// Whether all that led to a revision is in the database.
    pub(crate) fn is_durable(&self, revision: i64) -> bool {
        self.durable.lock().revision >= revision
    }

    /// The last revision that is known to be durable.
    pub(crate) fn durable(&self) -> Durable {
        *self.durable.lock()
    }

    /// Records that a revision is in the database.
    pub(crate) fn mark_durable(&self, revision: i64, position: StreamPosition) {
        let mut durable = self.durable.lock();
        durable.revision = durable.revision.max(revision);
        durable.position = durable.position.max(position);
    }

    /// Takes the pending head away if `live` has all of it.
    pub(crate) fn drop_settled(&self, pending: &mut Option<Head>, applied: StreamPosition) {
        let durable = self.durable();
        let is_settled = pending.as_ref().is_some_and(|head| {
            durable.revision >= head.state.revision() && durable.position <= applied
        });
        if is_settled {
            *pending = None;
        }
    }

    /// Locks the room in this process: in an open turn, or in none.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, Option<Head>> {
        loop {
            let pending = self.pending.lock().await;
            let turn = self.turn.lock().clone();
            match turn.filter(|turn| turn.is_over()) {
                None => return pending,
                Some(turn) => {
                    drop(pending);
                    turn.closed().await;
                }
            }
        }
    }

    /// Locks the room in this process, after its turn has ended.
    pub(crate) async fn lock_without_turn(&self) -> MutexGuard<'_, Option<Head>> {
        loop {
            let pending = self.lock().await;
            let Some(turn) = self.turn.lock().clone() else {
                return pending;
            };
            turn.end();
        }
    }

    /// Whether writes should wait for the turn of this process.
    pub(crate) fn is_contended(&self) -> bool {
        self.is_contended.load(Ordering::Acquire)
    }

    /// Notes whether other processes write to the room, too.
    pub(crate) fn set_contended(&self, is_contended: bool) {
        self.is_contended.store(is_contended, Ordering::Release);
    }

    /// Takes the pending head away: what is built next is built on what is committed.
    pub(crate) fn discard_head(&self, pending: &mut Option<Head>) {
        *pending = None;
        self.discarded.fetch_add(1, Ordering::AcqRel);
    }

    /// How many pending heads were discarded: tells whether a write was built on one of them.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Acquire)
    }

    /// Whether this process has its turn.
    pub(crate) fn has_turn(&self) -> bool {
        self.turn.lock().is_some()
    }

    /// Lets this process write in a turn from here on.
    pub(crate) fn open_turn(&self, turn: Arc<Turn>) {
        *self.turn.lock() = Some(turn);
    }

    /// Counts a write in the turn of this process, if it has one.
    pub(crate) fn begin_write(&self) -> Option<TurnWrite> {
        self.turn.lock().clone().map(TurnWrite::new)
    }

    /// Lets this process write without a turn.
    pub(crate) fn close_turn(&self) {
        *self.turn.lock() = None;
    }
}

impl InUse {
    fn get(&mut self, room_id: &RoomId) -> Arc<HeadEntry> {
        if let Some(entry) = self.heads.get(room_id).and_then(Weak::upgrade) {
            return entry;
        }
        if self.heads.len() >= self.prune_at {
            self.heads.retain(|_, entry| entry.strong_count() > 0);
            self.prune_at = (2 * self.heads.len()).max(1024);
        }
        let entry = Arc::default();
        self.heads
            .insert(room_id.to_owned(), Arc::downgrade(&entry));
        entry
    }
}
