//! The heads of rooms in memory, each behind its room's lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
};

use moka::sync::Cache;
use ruma::{OwnedRoomId, RoomId};
use storage::{AllocatedIds, Change, CommitError, committer::WriteSet};
use tokio::sync::oneshot;
use types::StreamPosition;

use crate::{head::Head, turn::Turn};

/// The weight of an empty entry.
const MIN_WEIGHT: u32 = 1024;

/// A room's lock and, once it was needed, its head.
#[derive(Debug, Default)]
pub(crate) struct HeadEntry {
    pub(crate) head: tokio::sync::Mutex<Option<Head>>,
    /// The revision that is known to be in the database; the head may be ahead of it.
    durable: AtomicI64,
    /// The stream position of the last write by another process.
    peer_position: AtomicI64,
    /// Whether other processes have written to the room lately.
    is_contended: AtomicBool,
    /// Whether the head is not what is in the database: it is loaded anew.
    is_discarded: AtomicBool,
    /// Open while this process has the room's lock in the database. Changes with `head` locked.
    turn: parking_lot::Mutex<Option<Turn>>,
    weight: AtomicU32,
}

/// The cached heads: one for each room in use, and as many others as fit into the budget.
#[derive(Debug)]
pub(crate) struct HeadCache {
    cache: Cache<OwnedRoomId, Arc<HeadEntry>>,
    /// Finds an entry that was evicted while a write is in flight: a head reloaded from the database
    /// would lack the write.
    in_use: parking_lot::Mutex<InUse>,
}

#[derive(Debug, Default)]
struct InUse {
    heads: HashMap<OwnedRoomId, Weak<HeadEntry>>,
    /// The number of entries at which dropped ones are pruned.
    prune_at: usize,
}

impl HeadCache {
    /// A cache of about `budget` bytes.
    pub(crate) fn new(budget: u64) -> Self {
        // A single large room neither empties the cache nor has no place in it.
        let max_charge = u32::try_from(budget / 2 + 1).unwrap_or(u32::MAX);
        let cache = Cache::builder()
            .max_capacity(budget)
            .weigher(move |_, entry: &Arc<HeadEntry>| {
                let weight = entry.weight.load(Ordering::Relaxed);
                weight.min(max_charge).max(MIN_WEIGHT)
            })
            .build();
        Self {
            cache,
            in_use: parking_lot::Mutex::default(),
        }
    }

    /// The entry of a room.
    pub(crate) fn get(&self, room_id: &RoomId) -> Arc<HeadEntry> {
        self.cache
            .get_with_by_ref(room_id, || self.in_use.lock().get(room_id))
    }

    /// Accounts for a head that was put into its entry and is durable.
    pub(crate) fn insert(&self, entry: &Arc<HeadEntry>, head: &Head) {
        entry.mark_durable(head.revision);
        entry.weight.store(weight(head), Ordering::Relaxed);
        self.cache.insert(head.room_id.clone(), entry.clone());
    }

    /// Accounts for a head that has grown by writes, or shrunk, once that is by a quarter.
    pub(crate) fn reweigh(&self, entry: &Arc<HeadEntry>, head: &Head) {
        let (before, now) = (entry.weight.load(Ordering::Relaxed), weight(head));
        if now.abs_diff(before) > before / 4 {
            entry.weight.store(now, Ordering::Relaxed);
            self.cache.insert(head.room_id.clone(), entry.clone());
        }
    }

    /// Marks the heads that lack changes of other processes as stale, to be reloaded on their next
    /// use. Events whose id is among `allocated` are of this process and already applied.
    pub(crate) fn mark_stale(
        &self,
        changes: &[(StreamPosition, Change)],
        allocated: &AllocatedIds,
    ) {
        for (position, change) in changes {
            let Change::Event(change) = change else {
                continue;
            };
            let event = &change.event;
            if allocated.contains(event.nid.get()) {
                continue;
            }
            if let Some(entry) = self.in_use.lock().find(event.pdu.room_id()) {
                let peer_position = &entry.peer_position;
                peer_position.fetch_max(position.get(), Ordering::AcqRel);
            }
        }
    }

    /// Removes the entry of a room that does not exist.
    pub(crate) fn remove(&self, room_id: &RoomId) {
        self.cache.invalidate(room_id);
    }
}

fn weight(head: &Head) -> u32 {
    u32::try_from(head.weight()).unwrap_or(u32::MAX)
}

impl HeadEntry {
    /// Whether all that led to a revision is in the database.
    pub(crate) fn is_durable(&self, revision: i64) -> bool {
        self.durable.load(Ordering::Acquire) >= revision
    }

    /// Whether a head has all that other processes are known to have written.
    ///
    /// One that has not is worth nothing, even if it is ahead by writes of this process that are
    /// not durable yet: they were built without what is in the database, and will fail.
    pub(crate) fn is_fresh(&self, head: &Head) -> bool {
        !self.is_discarded.swap(false, Ordering::AcqRel)
            && self.peer_position.load(Ordering::Acquire) <= head.loaded_at.get()
    }

    /// Whether writes should take the room's lock in the database first.
    pub(crate) fn is_contended(&self) -> bool {
        self.is_contended.load(Ordering::Acquire)
    }

    /// Notes whether other processes write to the room, too.
    pub(crate) fn set_contended(&self, is_contended: bool) {
        self.is_contended.store(is_contended, Ordering::Release);
    }

    /// Has the head loaded anew when it is needed next.
    pub(crate) fn discard_head(&self) {
        self.is_discarded.store(true, Ordering::Release);
    }

    /// Whether writes are to be added to a turn.
    pub(crate) fn has_open_turn(&self) -> bool {
        self.turn.lock().is_some()
    }

    /// Lets writes be added to a turn.
    pub(crate) fn open_turn(&self) {
        *self.turn.lock() = Some(Turn::default());
    }

    /// Adds a write to the open turn.
    pub(crate) fn add_to_turn(
        &self,
        set: WriteSet,
        request: oneshot::Sender<Result<(), CommitError>>,
    ) {
        if let Some(turn) = &mut *self.turn.lock() {
            turn.add(set, request);
        }
    }

    /// What was added to the turn; none if there is no open one.
    pub(crate) fn close_turn(&self) -> Option<Turn> {
        self.turn.lock().take()
    }

    /// Records that a revision is in the database.
    pub(crate) fn mark_durable(&self, revision: i64) {
        self.durable.fetch_max(revision, Ordering::AcqRel);
    }
}

impl InUse {
    fn find(&self, room_id: &RoomId) -> Option<Arc<HeadEntry>> {
        self.heads.get(room_id).and_then(Weak::upgrade)
    }

    fn get(&mut self, room_id: &RoomId) -> Arc<HeadEntry> {
        if let Some(entry) = self.find(room_id) {
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
