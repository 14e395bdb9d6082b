//! All that is in memory, behind one lock that is never held across a wait.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ruma::{OwnedUserId, UserId};
use storage::feed::ChangeBatch;
use types::{RoomNid, StreamPosition};

use crate::{
    ephemeral::Counter,
    room::Room,
    typing::Typing,
    user::{Marks, User},
};

/// Users and rooms of the recent past as of a position.
#[derive(Debug)]
pub(crate) struct Memory {
    /// All changes up to here have been applied.
    pub(crate) position: StreamPosition,
    /// From here on it is known which rooms changed.
    pub(crate) started: StreamPosition,
    pub(crate) ephemeral: Counter,
    pub(crate) users: HashMap<OwnedUserId, UserSlot>,
    pub(crate) rooms: HashMap<RoomNid, RoomSlot>,
    /// Rooms that are being read from the database.
    pub(crate) loading: HashSet<RoomNid>,
    /// When each room last changed since the start.
    pub(crate) changes: HashMap<RoomNid, StreamPosition>,
    /// The users in memory who are joined to each room.
    pub(crate) joined: HashMap<RoomNid, HashMap<OwnedUserId, Arc<Marks>>>,
    pub(crate) typing: HashMap<RoomNid, Typing>,
    /// Reads from the database that are under way, by where they began.
    pub(crate) loads: BTreeMap<StreamPosition, usize>,
    /// What was applied while reads were under way: they catch up with it.
    pub(crate) log: Vec<Arc<ChangeBatch>>,
    /// About how many bytes users and rooms take.
    pub(crate) bytes: usize,
    uses: AtomicU64,
}

/// A user's place in memory: empty until it is read.
#[derive(Debug, Default)]
pub(crate) struct UserSlot {
    pub(crate) user: Option<Arc<User>>,
    pub(crate) marks: Arc<Marks>,
}

/// A room's place in memory.
#[derive(Debug)]
pub(crate) struct RoomSlot {
    pub(crate) room: Arc<Room>,
    /// Readers who need it to stay.
    pub(crate) pins: usize,
    pub(crate) used: AtomicU64,
}

impl Memory {
    pub(crate) fn new(position: StreamPosition, ephemeral: Counter) -> Self {
        Self {
            position,
            started: position,
            ephemeral,
            users: HashMap::new(),
            rooms: HashMap::new(),
            loading: HashSet::new(),
            changes: HashMap::new(),
            joined: HashMap::new(),
            typing: HashMap::new(),
            loads: BTreeMap::new(),
            log: Vec::new(),
            bytes: 0,
            uses: AtomicU64::new(0),
        }
    }

    /// A number that is higher with each use: the lowest is the one to go first.
    pub(crate) fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// When a room last changed after the start, as far as anybody here knows.
    pub(crate) fn last_change(&self, room_nid: RoomNid) -> Option<StreamPosition> {
        let seen = self.changes.get(&room_nid).copied();
        let held = self
            .rooms
            .get(&room_nid)
            .map(|slot| slot.room.last_change());
        seen.max(held)
    }

    pub(crate) fn put_user(&mut self, user: User) {
        self.take_user(&user.id.clone());
        let slot = self.users.entry(user.id.clone()).or_default();
        for room_nid in user.joined_rooms() {
            self.joined
                .entry(room_nid)
                .or_default()
                .insert(user.id.clone(), slot.marks.clone());
            // It changed before there was anybody to mark.
            if let Some(list) = self.typing.get(&room_nid) {
                slot.marks.change_ephemeral(list.position);
            }
        }
        self.bytes += user.weight();
        slot.user = Some(Arc::new(user));
    }

    /// Empties a user's place; requests that look at the user keep the alarm.
    pub(crate) fn take_user(&mut self, user_id: &UserId) {
        let Some(user) = self
            .users
            .get_mut(user_id)
            .and_then(|slot| slot.user.take())
        else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(user.weight());
        for room_nid in user.joined_rooms() {
            self.unlist(room_nid, user_id);
        }
    }

    /// Takes a user off the list of a room's members.
    pub(crate) fn unlist(&mut self, room_nid: RoomNid, user_id: &UserId) {
        if let Some(users) = self.joined.get_mut(&room_nid) {
            users.remove(user_id);
            if users.is_empty() {
                self.joined.remove(&room_nid);
            }
        }
    }

    /// Puts a room in place, unless a fresher one is there.
    pub(crate) fn put_room(&mut self, room: Room) {
        let room_nid = room.nid;
        if self.rooms.contains_key(&room_nid) {
            return;
        }
        self.bytes += room.weight;
        let used = AtomicU64::new(self.next_use());
        self.rooms.insert(
            room_nid,
            RoomSlot {
                room: Arc::new(room),
                pins: 0,
                used,
            },
        );
    }

    pub(crate) fn take_room(&mut self, room_nid: RoomNid) {
        if let Some(slot) = self.rooms.remove(&room_nid) {
            self.bytes = self.bytes.saturating_sub(slot.room.weight);
        }
    }

    /// Drops what was not used for longest until `budget` is kept with some room to spare.
    pub(crate) fn evict(&mut self, budget: usize) {
        if self.bytes <= budget {
            return;
        }
        let target = budget / 10 * 9;
        let mut rooms: Vec<(u64, RoomNid)> = self
            .rooms
            .iter()
            .filter(|(_, slot)| slot.pins == 0)
            .map(|(room_nid, slot)| (slot.used.load(Ordering::Relaxed), *room_nid))
            .collect();
        rooms.sort_unstable();
        for (_, room_nid) in rooms {
            if self.bytes <= target {
                return;
            }
            self.take_room(room_nid);
        }
        let mut users: Vec<(u64, OwnedUserId)> = self
            .users
            .iter()
            .filter(|(_, slot)| slot.marks.watchers.load(Ordering::Acquire) == 0)
            .map(|(user_id, slot)| (slot.marks.used.load(Ordering::Relaxed), user_id.clone()))
            .collect();
        users.sort_unstable();
        for (_, user_id) in users {
            if self.bytes <= target {
                return;
            }
            self.take_user(&user_id);
            self.users.remove(&user_id);
        }
    }
}
