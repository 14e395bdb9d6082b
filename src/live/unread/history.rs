//! Events from before the cached timelines that counts need: read once for all users of a room.

mod reading;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use event::{Pdu, Relation};
use moka::sync::Cache;
use ruma::{OwnedEventId, push::FlattenedJson};
use storage::{Error, events};
use tokio::sync::{Mutex, OwnedMutexGuard};
use types::{HistoryOrder, RoomNid, StreamPosition};

use self::reading::{Reading, read};
use super::thread::{EventThread, MAX_RELATION_DEPTH};
use crate::{Live, Room};

/// How long what was read stays after its last use.
const IDLE_TIME: Duration = Duration::from_mins(5);
/// How many events a room's known threads are kept of.
const MAX_THREADS: usize = 10_000;

/// An event from before the cached timeline.
#[derive(Debug)]
pub(crate) struct HistoryEvent {
    pub(crate) order: HistoryOrder,
    pub(crate) pdu: Pdu,
    pub(crate) is_redacted: bool,
    flattened: OnceLock<FlattenedJson>,
}

impl HistoryEvent {
    /// The event in the flattened form that push conditions match.
    pub(crate) fn flattened(&self) -> &FlattenedJson {
        self.flattened
            .get_or_init(|| event::push::flatten(&self.pdu))
    }
}

/// The part of a room's history that a count needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryRange {
    /// Only what is in threads up to `after_main`.
    pub(crate) after: HistoryOrder,
    /// Everything after this.
    pub(crate) after_main: HistoryOrder,
}

impl HistoryRange {
    const ALL: Self = Self {
        after: HistoryOrder::MIN,
        after_main: HistoryOrder::MIN,
    };
}

/// Events of a room as they were at a position.
#[derive(Debug)]
struct RoomHistory {
    range: HistoryRange,
    /// All events after this are there.
    complete_after: HistoryOrder,
    /// Later redactions are not known here.
    read_at: StreamPosition,
    events: Vec<Arc<HistoryEvent>>,
}

impl RoomHistory {
    /// Whether a read of the range would find the same.
    fn covers(&self, range: HistoryRange) -> bool {
        self.range.after <= range.after && self.range.after_main <= range.after_main
    }
}

/// What was read of a room. Its lock is held while it is read, so that users who need the same wait
/// for each other.
#[derive(Debug, Default)]
struct CachedHistory {
    history: Option<Arc<RoomHistory>>,
    /// The threads of events that are not cached.
    threads: HashMap<OwnedEventId, EventThread>,
}

#[derive(Debug, Default)]
struct CacheEntry {
    room: Arc<Mutex<CachedHistory>>,
    weight: AtomicU32,
}

/// What was read of rooms in order to count unread notifications.
#[derive(Debug)]
pub(crate) struct HistoryCache(Cache<RoomNid, Arc<CacheEntry>>);

/// The locked slots of some rooms.
type LockedRooms = HashMap<RoomNid, (Arc<CacheEntry>, OwnedMutexGuard<CachedHistory>)>;

impl HistoryCache {
    /// An empty cache; `budget` is in bytes.
    pub(crate) fn new(budget: usize) -> Self {
        let cache = Cache::builder()
            .max_capacity(budget as u64)
            .weigher(|_, slot: &Arc<CacheEntry>| slot.weight.load(Ordering::Relaxed) + 512)
            .time_to_idle(IDLE_TIME)
            .build();
        Self(cache)
    }

    /// Locks rooms, always in the same order.
    async fn lock(&self, mut room_nids: Vec<RoomNid>) -> LockedRooms {
        room_nids.sort_unstable();
        let mut locked = HashMap::new();
        for room_nid in room_nids {
            let slot = self.0.get_with(room_nid, Arc::default);
            let guard = slot.room.clone().lock_owned().await;
            locked.insert(room_nid, (slot, guard));
        }
        locked
    }

    /// Weighs a room again.
    fn update_weight(&self, room_nid: RoomNid, slot: &Arc<CacheEntry>, bytes: usize) {
        let weight = u32::try_from(bytes).unwrap_or(u32::MAX / 2);
        slot.weight.store(weight, Ordering::Relaxed);
        self.0.insert(room_nid, slot.clone());
    }
}

impl Live {
    /// Visits the events of each range that may be unread, and says after which all were visited:
    /// one query for all rooms, and none for what another user needed shortly before.
    pub(crate) async fn visit_history(
        &self,
        wanted: Vec<(&Room, HistoryRange)>,
        mut visit: impl FnMut(RoomNid, &HistoryEvent),
    ) -> Result<HashMap<RoomNid, HistoryOrder>, Error> {
        let histories = &self.0.histories;
        let room_nids = wanted.iter().map(|(room, _)| room.room_nid()).collect();
        let mut locked = histories.lock(room_nids).await;
        let (mut cached, mut readings) = (Vec::new(), HashMap::new());
        for (room, range) in wanted {
            let room_nid = room.room_nid();
            let slot = locked.get(&room_nid);
            let history = slot.and_then(|(_, slot)| slot.history.clone());
            match history.filter(|history| room.is_continuous_from(history.read_at)) {
                Some(history) if history.covers(range) => cached.push((room_nid, history)),
                // Whoever needs still more finds all that is ever read.
                Some(_) => {
                    readings.insert(room_nid, Reading::new(HistoryRange::ALL));
                }
                None => {
                    readings.insert(room_nid, Reading::new(range));
                }
            }
        }
        let mut complete = HashMap::new();
        if !readings.is_empty() {
            // What changes later is found in the cached rooms.
            let read_at = self.position();
            let mut db = self.0.database.acquire().await?;
            read(&mut db, &mut readings, &mut visit).await?;
            drop(db);
            for (room_nid, reading) in readings {
                complete.insert(room_nid, reading.complete_after());
                if let Some((slot, guard)) = locked.get_mut(&room_nid) {
                    guard.history = reading.into_history(read_at).map(Arc::new);
                    histories.update_weight(room_nid, slot, guard.weight());
                }
            }
        }
        drop(locked);
        for (room_nid, history) in cached {
            complete.insert(room_nid, history.complete_after);
            let events = history.events.iter();
            events.for_each(|event| visit(room_nid, event));
        }
        Ok(complete)
    }

    /// The threads of events that relate to events of a room which are not cached, as far as there
    /// are such: by the relations of the events in between.
    pub(crate) async fn resolve_threads(
        &self,
        unresolved: &HashMap<RoomNid, Vec<OwnedEventId>>,
    ) -> Result<HashMap<OwnedEventId, EventThread>, Error> {
        let room_nids = unresolved.keys().copied().collect();
        let mut locked = self.0.histories.lock(room_nids).await;
        for _ in 0..MAX_RELATION_DEPTH {
            let mut unknown = Vec::new();
            for (room_nid, parents) in unresolved {
                if let Some((_, slot)) = locked.get(room_nid) {
                    let ends = parents.iter().map(|parent| slot.end_of(parent));
                    let ends = ends.filter(|end| !slot.threads.contains_key(*end));
                    unknown.extend(ends.map(|end| (*room_nid, end.clone())));
                }
            }
            if unknown.is_empty() {
                break;
            }
            unknown.sort_unstable();
            unknown.dedup();
            let mut db = self.0.database.acquire().await?;
            let relations = events::relations_of(&mut db, &unknown).await?;
            for (room_nid, event_id) in unknown {
                if let Some((_, slot)) = locked.get_mut(&room_nid) {
                    let relation = relations.get(&event_id).cloned().flatten();
                    slot.insert_thread(event_id, relation);
                }
            }
        }
        let mut threads = HashMap::new();
        for (room_nid, parents) in unresolved {
            if let Some((slot, guard)) = locked.get(room_nid) {
                self.0
                    .histories
                    .update_weight(*room_nid, slot, guard.weight());
                for parent in parents {
                    let end = guard.end_of(parent);
                    let thread = guard.threads.get(end).cloned();
                    threads.extend(thread.map(|thread| (parent.clone(), thread)));
                }
            }
        }
        Ok(threads)
    }
}

impl CachedHistory {
    /// The last event that is known on the way from an event to its thread.
    fn end_of<'s>(&'s self, event_id: &'s OwnedEventId) -> &'s OwnedEventId {
        let mut end = event_id;
        for _ in 0..MAX_RELATION_DEPTH {
            match self.threads.get(end) {
                Some(EventThread::SameAs(parent)) => end = parent,
                _ => break,
            }
        }
        end
    }

    fn insert_thread(&mut self, event_id: OwnedEventId, relation: Option<Relation>) {
        if self.threads.len() >= MAX_THREADS {
            self.threads.clear();
        }
        let thread = EventThread::from_relation(relation);
        self.threads.insert(event_id, thread);
    }

    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize {
        let events = self.history.iter().flat_map(|history| &history.events);
        let events: usize = events.map(|event| event.weight()).sum();
        events + self.threads.len() * 256
    }
}

impl HistoryEvent {
    /// About how many bytes of memory it takes, with the flattened form.
    fn weight(&self) -> usize {
        self.pdu.weight() * 3 + 128
    }
}

#[cfg(test)]
mod tests;
