//! The heads of rooms in memory, each behind its room's lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use moka::sync::Cache;
use ruma::{OwnedRoomId, RoomId};
use storage::{Change, Drawn};
use types::StreamPosition;

use crate::head::Head;

/// What an empty slot weighs.
const LEAST: u32 = 1024;

/// A room's lock and, once it was needed, its head.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) head: tokio::sync::Mutex<Option<Head>>,
    /// The revision that is known to be in the database; the head may be ahead of it.
    durable: AtomicI64,
    /// Where the stream shows the last write of another process.
    written_elsewhere: AtomicI64,
    weight: AtomicU32,
}

/// All slots: one for each room that is used, and as many others as fit into the budget.
#[derive(Debug)]
pub(crate) struct Slots {
    kept: Cache<OwnedRoomId, Arc<Slot>>,
    /// A slot that is dropped for want of memory while a write is under way is found here: read anew
    /// from the database, the room would lack the write.
    used: parking_lot::Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    slots: HashMap<OwnedRoomId, Weak<Slot>>,
    /// With so many entries it is time to look for slots that are gone.
    crowd: usize,
}

impl Slots {
    /// Slots whose heads take about so many bytes.
    pub(crate) fn new(budget: u64) -> Self {
        let kept = Cache::builder()
            .max_capacity(budget)
            .weigher(|_, slot: &Arc<Slot>| slot.weight.load(Ordering::Relaxed).max(LEAST))
            .build();
        Self {
            kept,
            used: parking_lot::Mutex::default(),
        }
    }

    /// The slot of a room.
    pub(crate) fn get(&self, room_id: &RoomId) -> Arc<Slot> {
        self.kept
            .get_with_by_ref(room_id, || self.used.lock().get(room_id))
    }

    /// Takes note of a head, now in its slot, that stands like this in the database.
    pub(crate) fn note(&self, slot: &Arc<Slot>, head: &Head) {
        slot.reached(head.revision);
        let weight = u32::try_from(head.weight()).unwrap_or(u32::MAX);
        slot.weight.store(weight, Ordering::Relaxed);
        self.kept.insert(head.room_id.clone(), slot.clone());
    }

    /// Takes note of what was read from the stream: heads that lack what other processes wrote are
    /// read anew when they are used next. What bears a number that was `drawn` here is in the heads.
    pub(crate) fn catch_up(&self, changes: &[(StreamPosition, Change)], drawn: &Drawn) {
        for (position, change) in changes {
            let Change::Event(change) = change else {
                continue;
            };
            let event = &change.event;
            if drawn.contains(event.nid.get()) {
                continue;
            }
            if let Some(slot) = self.used.lock().find(event.pdu.room_id()) {
                let elsewhere = &slot.written_elsewhere;
                elsewhere.fetch_max(position.get(), Ordering::AcqRel);
            }
        }
    }

    /// Drops the slot of a room that does not exist.
    pub(crate) fn forget(&self, room_id: &RoomId) {
        self.kept.invalidate(room_id);
    }
}

impl Slot {
    /// Whether all that led to a revision is in the database.
    pub(crate) fn is_durable(&self, revision: i64) -> bool {
        self.durable.load(Ordering::Acquire) >= revision
    }

    /// Whether a head has all that other processes are known to have written.
    ///
    /// One that has not is worth nothing, even if it is ahead by writes of this process that are
    /// not durable yet: they were built without what is in the database, and will fail.
    pub(crate) fn is_fresh(&self, head: &Head) -> bool {
        self.written_elsewhere.load(Ordering::Acquire) <= head.read_at.get()
    }

    /// Takes note that a revision is in the database.
    pub(crate) fn reached(&self, revision: i64) {
        self.durable.fetch_max(revision, Ordering::AcqRel);
    }
}

impl Used {
    fn find(&self, room_id: &RoomId) -> Option<Arc<Slot>> {
        self.slots.get(room_id).and_then(Weak::upgrade)
    }

    fn get(&mut self, room_id: &RoomId) -> Arc<Slot> {
        if let Some(slot) = self.find(room_id) {
            return slot;
        }
        if self.slots.len() >= self.crowd {
            self.slots.retain(|_, slot| slot.strong_count() > 0);
            self.crowd = (2 * self.slots.len()).max(1024);
        }
        let slot = Arc::default();
        self.slots.insert(room_id.to_owned(), Arc::downgrade(&slot));
        slot
    }
}
