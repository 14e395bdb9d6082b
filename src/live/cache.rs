//! The cached users and rooms, and what is remembered of their last changes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use storage::{cluster::TypingMessage, feed::ChangeBatch};
use tokio::sync::mpsc;
use types::{EphemeralPosition, RoomNid, StreamPosition};

use crate::{
    change_index::ChangeIndex,
    ephemeral::EphemeralCounter,
    presence::{PresenceNotice, store::PresenceStore},
    room::Room,
    room_overviews::RoomOverviews,
    room_servers::RoomServers,
    room_state::RoomState,
    typing_users::TypingUsers,
    user::{LastChanged, User},
};

/// What a room in `changes` or `typing_changes` takes, with an empty list of typing users, in bytes.
const CHANGE_BYTES: usize = 256;
/// About what an overview of a room takes, in bytes.
const OVERVIEW_BYTES: usize = 128;
/// About what the presence of a user takes, with the rooms of the user, in bytes.
const PRESENCE_BYTES: usize = 1024;

/// The parts of the size of the cache, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Users and rooms.
    pub(crate) entries: usize,
    /// Events of state that rooms do not hold themselves.
    pub(crate) events: usize,
    /// When rooms last changed.
    pub(crate) changes: usize,
}

impl Budget {
    pub(crate) fn divide(bytes: usize) -> Self {
        let (events, changes) = (bytes / 2, bytes / 32);
        Self {
            entries: bytes - events - changes,
            events,
            changes,
        }
    }

    /// Of how many rooms the overviews are kept.
    pub(crate) fn max_overviews(&self) -> usize {
        self.changes / OVERVIEW_BYTES
    }

    /// Of how many users the presence is known before those who are offline are forgotten.
    pub(crate) fn max_presence(&self) -> usize {
        (self.changes / PRESENCE_BYTES).max(1)
    }
}

/// The cached users and rooms, as of a position. One lock guards it; the lock is never held across an
/// `.await`.
#[derive(Debug)]
pub(crate) struct LiveCache {
    /// All changes up to here have been applied.
    pub(crate) position: StreamPosition,
    /// `changes` holds every change after this.
    pub(crate) started: StreamPosition,
    pub(crate) ephemeral: EphemeralCounter,
    pub(crate) users: HashMap<OwnedUserId, UserEntry>,
    pub(crate) rooms: HashMap<RoomNid, RoomEntry>,
    /// The numbers of the cached rooms.
    room_nids: HashMap<OwnedRoomId, RoomNid>,
    /// Rooms that are being loaded.
    pub(crate) loading: HashSet<RoomNid>,
    /// The position of the last change of each room after `started`.
    pub(crate) changes: ChangeIndex<RoomNid, StreamPosition>,
    /// The cached users that are joined to each room.
    pub(crate) joined: HashMap<RoomNid, HashMap<OwnedUserId, Arc<LastChanged>>>,
    pub(crate) typing: HashMap<RoomNid, TypingUsers>,
    /// Who in this process is notified of what becomes of this process's entries.
    pub(crate) typing_notices: Option<mpsc::Sender<TypingMessage>>,
    /// The presence of users, which follows their memberships.
    pub(crate) presence: Arc<Mutex<PresenceStore>>,
    /// Who in this process is told what other servers are to know of presence.
    pub(crate) presence_notices: Option<mpsc::Sender<PresenceNotice>>,
    /// What lists of rooms are sorted and filtered by, as far as that was asked for.
    pub(crate) overviews: RoomOverviews,
    /// How many users of each server are in rooms, as far as that was asked for.
    pub(crate) room_servers: RoomServers,
    /// When the typing users of each room last changed, after `typing_started`.
    pub(crate) typing_changes: ChangeIndex<RoomNid, EphemeralPosition>,
    /// `typing_changes` holds every change after this.
    pub(crate) typing_started: EphemeralPosition,
    /// How many rooms `changes` and `typing_changes` hold at the most.
    max_changes: usize,
    /// Users that are not cached and whose device lists changed, by the position of the change, until
    /// it is known which users share a room with them.
    pub(crate) unresolved_device_lists: BTreeMap<StreamPosition, OwnedUserId>,
    /// The number of loads in progress, by the position at which they began.
    pub(crate) loads: BTreeMap<StreamPosition, usize>,
    /// The batches that were applied while loads are in progress.
    pub(crate) log: Vec<Arc<ChangeBatch>>,
    /// The approximate size of all users and rooms in bytes, as far as they are charged.
    pub(crate) bytes: usize,
    /// The most bytes that one entry is charged.
    max_charge: usize,
    uses: AtomicU64,
}

/// The cache entry of a user; `user` is empty until it is loaded.
#[derive(Debug, Default)]
pub(crate) struct UserEntry {
    pub(crate) user: Option<Arc<User>>,
    pub(crate) last_changed: Arc<LastChanged>,
}

/// The cache entry of a room.
#[derive(Debug)]
pub(crate) struct RoomEntry {
    pub(crate) state: Arc<RoomState>,
    /// Timeline and receipts, with the same state; none until a client syncs the room.
    pub(crate) room: Option<Arc<Room>>,
    /// How many views need the room; a pinned room is not evicted.
    pub(crate) pins: usize,
    pub(crate) used: AtomicU64,
}

impl RoomEntry {
    pub(crate) fn weight(&self) -> usize {
        self.state.weight() + self.room.as_ref().map_or(0, |room| room.weight)
    }
}

impl LiveCache {
    pub(crate) fn new(
        position: StreamPosition,
        ephemeral: EphemeralCounter,
        budget: &Budget,
    ) -> Self {
        Self {
            position,
            started: position,
            ephemeral,
            users: HashMap::new(),
            rooms: HashMap::new(),
            room_nids: HashMap::new(),
            loading: HashSet::new(),
            changes: ChangeIndex::default(),
            joined: HashMap::new(),
            typing: HashMap::new(),
            typing_notices: None,
            presence: Arc::new(Mutex::new(PresenceStore::new(budget.max_presence(), 0))),
            presence_notices: None,
            overviews: RoomOverviews::new(budget.max_overviews()),
            room_servers: RoomServers::default(),
            typing_changes: ChangeIndex::default(),
            typing_started: EphemeralPosition::default(),
            max_changes: budget.changes / CHANGE_BYTES,
            unresolved_device_lists: BTreeMap::new(),
            loads: BTreeMap::new(),
            log: Vec::new(),
            bytes: 0,
            max_charge: budget.entries / 2 + 1,
            uses: AtomicU64::new(0),
        }
    }

    /// What an entry of some bytes is charged: never more than half of the budget, so that a single
    /// large room neither empties the cache of everything else nor has no place in it.
    pub(crate) fn charge(&self, weight: usize) -> usize {
        weight.min(self.max_charge)
    }

    /// Accounts for an entry whose size changed.
    pub(crate) fn recharge(&mut self, before: usize, after: usize) {
        let (before, after) = (self.charge(before), self.charge(after));
        self.bytes = (self.bytes + after).saturating_sub(before);
    }

    /// The next value of the use counter; the entry with the lowest one is evicted first.
    pub(crate) fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// Records a change of a room. Of rooms that changed too long ago the database knows.
    pub(crate) fn record_change(&mut self, room_nid: RoomNid, position: StreamPosition) {
        self.changes.insert(room_nid, position);
        if let Some((until, _)) = self.changes.forget_all_but(self.max_changes) {
            self.started = self.started.max(until);
        }
    }

    /// Records that the typing users of a room changed. Empty lists that changed longest ago are
    /// removed.
    pub(crate) fn record_typing(&mut self, room_nid: RoomNid, position: EphemeralPosition) {
        self.typing_changes.insert(room_nid, position);
        let Some((until, forgotten)) = self.typing_changes.forget_all_but(self.max_changes) else {
            return;
        };
        self.typing_started = until;
        for room_nid in forgotten {
            if self
                .typing
                .get(&room_nid)
                .is_some_and(TypingUsers::is_empty)
            {
                self.typing.remove(&room_nid);
            }
        }
    }

    /// The position of the last known change of a room after `started`.
    pub(crate) fn last_change(&self, room_nid: RoomNid) -> Option<StreamPosition> {
        let seen = self.changes.get(&room_nid).copied();
        let held = self
            .rooms
            .get(&room_nid)
            .and_then(|entry| Some(entry.room.as_ref()?.last_change()));
        seen.max(held)
    }

    pub(crate) fn insert_user(&mut self, user: User) {
        self.remove_user(&user.id.clone());
        self.bytes += self.charge(user.weight());
        let entry = self.users.entry(user.id.clone()).or_default();
        for room_nid in user.joined_rooms() {
            self.joined
                .entry(room_nid)
                .or_default()
                .insert(user.id.clone(), entry.last_changed.clone());
            // It changed before the user was cached.
            if let Some(list) = self.typing.get(&room_nid) {
                entry.last_changed.advance_ephemeral(list.position);
            }
        }
        entry.user = Some(Arc::new(user));
    }

    /// Removes a user's data; the entry stays, since subscribers hold its notifier.
    pub(crate) fn remove_user(&mut self, user_id: &UserId) {
        let Some(user) = self
            .users
            .get_mut(user_id)
            .and_then(|entry| entry.user.take())
        else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(self.charge(user.weight()));
        for room_nid in user.joined_rooms() {
            self.remove_member(room_nid, user_id);
        }
    }

    /// Removes a user from the cached members of a room.
    pub(crate) fn remove_member(&mut self, room_nid: RoomNid, user_id: &UserId) {
        if let Some(users) = self.joined.get_mut(&room_nid) {
            users.remove(user_id);
            if users.is_empty() {
                self.joined.remove(&room_nid);
            }
        }
    }

    /// The number of a cached room.
    pub(crate) fn room_nid(&self, room_id: &RoomId) -> Option<RoomNid> {
        self.room_nids.get(room_id).copied()
    }

    /// The state of a room, if it is cached.
    pub(crate) fn state(&self, room_nid: RoomNid) -> Option<&Arc<RoomState>> {
        let entry = self.rooms.get(&room_nid)?;
        entry.used.store(self.next_use(), Ordering::Relaxed);
        Some(&entry.state)
    }

    /// Inserts the state of a room, unless it is already cached.
    pub(crate) fn insert_state(&mut self, state: Arc<RoomState>) {
        let room_nid = state.room_nid();
        if self.rooms.contains_key(&room_nid) {
            return;
        }
        self.bytes += self.charge(state.weight());
        let used = AtomicU64::new(self.next_use());
        self.room_nids.insert(state.room_id().clone(), room_nid);
        self.rooms.insert(
            room_nid,
            RoomEntry {
                state,
                room: None,
                pins: 0,
                used,
            },
        );
    }

    /// Adds the rest of a room to its state, which is cached; nothing if neither is needed.
    pub(crate) fn insert_room(&mut self, mut room: Room) {
        let Some(entry) = self.rooms.get_mut(&room.room_nid()) else {
            return;
        };
        if entry.room.is_some() {
            return;
        }
        let before = entry.weight();
        room.state = entry.state.clone();
        entry.room = Some(Arc::new(room));
        let after = entry.weight();
        self.recharge(before, after);
    }

    pub(crate) fn remove_room(&mut self, room_nid: RoomNid) {
        if let Some(entry) = self.rooms.remove(&room_nid) {
            self.room_nids.remove(entry.state.room_id());
            self.bytes = self.bytes.saturating_sub(self.charge(entry.weight()));
        }
    }

    /// Evicts the least recently used rooms, then users, until 90 % of `budget` is reached.
    pub(crate) fn evict(&mut self, budget: usize) {
        if self.bytes <= budget {
            return;
        }
        let target = budget / 10 * 9;
        let mut rooms: Vec<(u64, RoomNid)> = self
            .rooms
            .iter()
            .filter(|(_, entry)| entry.pins == 0)
            .map(|(room_nid, entry)| (entry.used.load(Ordering::Relaxed), *room_nid))
            .collect();
        rooms.sort_unstable();
        for (_, room_nid) in rooms {
            if self.bytes <= target {
                return;
            }
            self.remove_room(room_nid);
        }
        let mut users: Vec<(u64, OwnedUserId)> = self
            .users
            .iter()
            .filter(|(_, entry)| entry.last_changed.subscribers.load(Ordering::Acquire) == 0)
            .map(|(user_id, entry)| {
                (
                    entry.last_changed.used.load(Ordering::Relaxed),
                    user_id.clone(),
                )
            })
            .collect();
        users.sort_unstable();
        for (_, user_id) in users {
            if self.bytes <= target {
                return;
            }
            self.remove_user(&user_id);
            self.users.remove(&user_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::user_id;
    use storage::cluster::Process;
    use tokio::time::Instant;

    use super::*;

    /// A cache that remembers the changes of two rooms.
    fn cache() -> LiveCache {
        let process = Process {
            number: 1,
            opened_ms: 0,
            opened: Instant::now(),
        };
        let budget = Budget {
            entries: 1 << 20,
            events: 0,
            changes: 2 * CHANGE_BYTES,
        };
        LiveCache::new(StreamPosition(0), EphemeralCounter::new(process), &budget)
    }

    #[test]
    fn changes_of_the_longest_unchanged_rooms_are_left_to_the_database() {
        let mut cache = cache();
        for number in 1..=3 {
            cache.record_change(RoomNid(number), StreamPosition(number));
        }
        assert_eq!(cache.started, StreamPosition(1));
        assert_eq!(cache.last_change(RoomNid(1)), None);
        assert_eq!(cache.last_change(RoomNid(2)), Some(StreamPosition(2)));
    }

    #[test]
    fn rooms_without_typing_users_are_forgotten_and_others_kept() {
        let mut cache = cache();
        let now = Instant::now();
        let mut positions = Vec::new();
        for number in 1..=4 {
            let list = cache.typing.entry(RoomNid(number)).or_default();
            let until = now + Duration::from_mins(1);
            list.start(user_id!("@alice:test.localhost"), now, until, 1);
            if number == 1 {
                list.stop(user_id!("@alice:test.localhost"));
            }
            let position = cache.ephemeral.next();
            cache.record_typing(RoomNid(number), position);
            positions.push(position);
        }
        let mut rooms: Vec<i64> = cache.typing.keys().map(|nid| nid.get()).collect();
        rooms.sort_unstable();
        assert_eq!(rooms, [2, 3, 4]);
        assert_eq!(Some(&cache.typing_started), positions.get(1));
    }
}
