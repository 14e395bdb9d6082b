//! Loads users and rooms into the cache while the feed goes on.
//!
//! A load reads one database snapshot. Batches that are applied meanwhile are retained, and those
//! after the snapshot are applied to the loaded entry before it is inserted.

use std::{
    collections::{HashMap, btree_map::Entry},
    sync::Arc,
};

use ruma::{OwnedRoomId, UserId};
use storage::{
    Connection, Error, account_data, events,
    events::Span,
    memberships, receipts,
    room_states::{self, RoomSelector, StateSelector, StoredRoomState},
    state_deltas, stream,
};
use types::{RoomNid, StreamPosition};

use crate::{
    Live,
    apply::{catch_up_rooms, catch_up_states, catch_up_user},
    cache::LiveCache,
    pins::RoomPins,
    room::Room,
    room_state::{CORE_TYPES, RoomState, is_core},
    user::User,
};

/// Timeline events that are loaded with a room.
const TIMELINE_LOADED: usize = 24;
/// A state of at most so many events is read whole: who loads the room reads it next.
const SMALL_STATE: i64 = 64;

/// Retains the batches that are applied while it lives.
pub(crate) struct LogRetention<'a> {
    live: &'a Live,
    from: StreamPosition,
}

impl<'a> LogRetention<'a> {
    pub(crate) fn begin(live: &'a Live) -> Self {
        let mut cache = live.0.cache.write();
        let from = cache.position;
        *cache.loads.entry(from).or_default() += 1;
        Self { live, from }
    }
}

impl Drop for LogRetention<'_> {
    fn drop(&mut self) {
        let mut cache = self.live.0.cache.write();
        if let Entry::Occupied(mut begun) = cache.loads.entry(self.from) {
            *begun.get_mut() -= 1;
            if *begun.get() == 0 {
                begun.remove();
            }
        }
        // Batches older than the earliest load in progress are no longer needed.
        let first = cache.loads.first_key_value().map(|(from, _)| *from);
        let passed = first.map_or(cache.log.len(), |first| {
            cache.log.partition_point(|batch| batch.until <= first)
        });
        cache.log.drain(..passed);
    }
}

/// The rooms that this task loads; other tasks wait until it is dropped.
pub(crate) struct LoadGuard<'a> {
    live: &'a Live,
    rooms: Vec<(RoomNid, OwnedRoomId)>,
}

impl<'a> LoadGuard<'a> {
    /// Claims those of the rooms that no other task is loading.
    pub(crate) fn new(
        live: &'a Live,
        cache: &mut LiveCache,
        rooms: Vec<(RoomNid, OwnedRoomId)>,
    ) -> Option<Self> {
        let rooms: Vec<_> = rooms
            .into_iter()
            .filter(|(room_nid, _)| cache.loading.insert(*room_nid))
            .collect();
        // Not `then_some`: an empty claim that is dropped here would lock the cache a second time.
        (!rooms.is_empty()).then(|| Self { live, rooms })
    }
}

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        let mut cache = self.live.0.cache.write();
        for (room_nid, _) in &self.rooms {
            cache.loading.remove(room_nid);
        }
        drop(cache);
        self.live.0.rooms_loaded.notify_waiters();
    }
}

impl Live {
    /// Loads a user: three queries.
    pub(crate) async fn load_user(&self, user_id: &UserId) -> Result<(), Error> {
        let retention = LogRetention::begin(self);
        let mut db = self.0.database.snapshot().await?;
        let position = stream::position(&mut db).await?;
        let rooms = memberships::of_user(&mut db, user_id).await?;
        let data = account_data::since(&mut db, user_id, StreamPosition(0)).await?;
        db.commit().await?;
        let mut user = User::new(user_id.to_owned(), rooms, data, position);
        {
            let mut cache = self.0.cache.write();
            for batch in cache.log.clone() {
                for (position, change) in &batch.changes {
                    catch_up_user(&mut user, *position, change);
                }
            }
            cache.insert_user(user);
            if let Some(entry) = cache.users.get(user_id) {
                // Earlier changes are not known here: the first check must find a change.
                let seen = position.max(cache.position);
                entry.last_changed.advance(seen);
                entry.last_changed.advance_device_lists(seen);
                entry.last_changed.advance_presence(cache.ephemeral.last());
            }
            cache.evict(self.0.budget);
        }
        drop(retention);
        Ok(())
    }

    /// Loads the claimed rooms: seven queries for all of them, or five if their states are cached.
    ///
    /// They are pinned, so that they are not evicted before the view is taken.
    pub(crate) async fn load_rooms(
        &self,
        claim: LoadGuard<'_>,
        pins: &mut RoomPins,
    ) -> Result<(), Error> {
        let retention = LogRetention::begin(self);
        let room_nids: Vec<RoomNid> = claim.rooms.iter().map(|(room_nid, _)| *room_nid).collect();
        let cached = self.pin_states(&room_nids, pins);
        let missing = room_nids.iter().filter(|nid| !cached.contains_key(nid));
        let missing: Vec<RoomNid> = missing.copied().collect();
        let mut db = self.0.database.snapshot().await?;
        let position = stream::position(&mut db).await?;
        let mut states = self
            .read_states(&mut db, RoomSelector::Nids(&missing), position)
            .await?;
        for (room_nid, room_id) in &claim.rooms {
            if !cached.contains_key(room_nid) {
                // Only an invitation or a knock is known.
                let unknown = || RoomState::new(*room_nid, room_id.clone(), None);
                states.entry(*room_nid).or_insert_with(unknown);
            }
        }
        let state = |nid: &RoomNid| {
            cached
                .get(nid)
                .cloned()
                .or_else(|| Some(Arc::new(states.get(nid)?.clone())))
        };
        let states_of = room_nids.iter().filter_map(state).collect();
        let mut rooms = read_rooms(&mut db, states_of, position).await?;
        db.commit().await?;
        {
            let mut cache = self.0.cache.write();
            for batch in cache.log.clone() {
                catch_up_states(&mut states, &batch);
                for (position, change) in &batch.changes {
                    catch_up_rooms(&mut rooms, *position, change);
                }
            }
            for state in states.into_values() {
                cache.insert_state(Arc::new(state));
            }
            for room in rooms.into_values() {
                let room_nid = room.room_nid();
                cache.insert_room(room);
                pins.pin(&mut cache, room_nid);
            }
            cache.evict(self.0.budget);
        }
        drop(claim);
        drop(retention);
        Ok(())
    }

    /// The cached states among those of the rooms. They are pinned.
    fn pin_states(
        &self,
        room_nids: &[RoomNid],
        pins: &mut RoomPins,
    ) -> HashMap<RoomNid, Arc<RoomState>> {
        let mut cache = self.0.cache.write();
        let mut cached = HashMap::new();
        for room_nid in room_nids {
            if let Some(state) = cache.state(*room_nid).cloned() {
                pins.pin(&mut cache, *room_nid);
                cached.insert(*room_nid, state);
            }
        }
        cached
    }

    /// Reads the states of rooms in a database snapshot taken at `position`: two queries. The events
    /// that come along are kept.
    pub(crate) async fn read_states(
        &self,
        db: &mut Connection,
        which: RoomSelector<'_>,
        position: StreamPosition,
    ) -> Result<HashMap<RoomNid, RoomState>, Error> {
        if matches!(which, RoomSelector::Nids([])) {
            return Ok(HashMap::new());
        }
        let redactions = self.0.events.redactions();
        let wanted = StateSelector {
            event_types: &CORE_TYPES,
            small_state: SMALL_STATE,
        };
        let stored = room_states::load(db, which, wanted).await?;
        let along = stored.iter().flat_map(StoredRoomState::events);
        let along = along.filter(|event| !is_core(&event.pdu));
        self.0.events.keep(along, redactions);
        let state =
            |stored: StoredRoomState| (stored.room_nid, RoomState::of_stored(stored, position));
        Ok(stored.into_iter().map(state).collect())
    }
}

/// Reads all but the state of rooms: four queries.
async fn read_rooms(
    db: &mut Connection,
    states: Vec<Arc<RoomState>>,
    position: StreamPosition,
) -> Result<HashMap<RoomNid, Room>, Error> {
    let room_nids: Vec<RoomNid> = states.iter().map(|state| state.room_nid()).collect();
    let spans: Vec<Span> = room_nids
        .iter()
        .map(|nid| Span {
            room_nid: *nid,
            after: StreamPosition::START,
            until: position,
        })
        .collect();
    let mut recent = events::by_room(events::latest(db, &spans, TIMELINE_LOADED as i64).await?);
    let mut read = receipts::since(db, &room_nids, StreamPosition::START).await?;
    let mut rooms: HashMap<RoomNid, Room> = HashMap::new();
    for state in states {
        let room_nid = state.room_nid();
        let recent = recent.remove(&room_nid).unwrap_or_default();
        rooms.insert(
            room_nid,
            Room::new(state, recent, TIMELINE_LOADED, position),
        );
    }
    let spans: Vec<Span> = rooms
        .values()
        .map(|room| room.timeline_span(position))
        .collect();
    for (position, delta) in state_deltas::each(db, &spans).await? {
        if let Some(room) = rooms.get_mut(&delta.room_nid) {
            room.push_delta(position, delta.changes.into());
        }
    }
    read.sort_by_key(|(position, receipt)| (receipt.room_nid, *position));
    for (position, receipt) in read {
        if let Some(room) = rooms.get_mut(&receipt.room_nid) {
            room.insert_receipt(position, receipt);
        }
    }
    Ok(rooms)
}
