//! One moment of memory as a reader needs it: the user, and the rooms that changed.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState};
use storage::{Error, memberships::Membership, rooms};
use types::{EphemeralPosition, RoomNid, StreamPosition, SyncToken};

use crate::{Live, load::Claim, memory::Memory, room::Room, user::User, watch::Watch};

/// Which rooms a reader wants.
pub struct Want<'a> {
    /// Those that changed since; all when none.
    pub since: Option<SyncToken>,
    /// Of these only.
    pub of: &'a (dyn Fn(&Membership) -> bool + Sync),
}

/// A user and rooms, all as they stood at one position.
#[derive(Debug)]
pub struct Look {
    /// Everything up to here is in it, and nothing after.
    pub position: StreamPosition,
    /// Where the ephemeral counter stood.
    pub ephemeral: EphemeralPosition,
    /// The user.
    pub user: Arc<User>,
    /// The wanted rooms.
    pub rooms: HashMap<RoomNid, Arc<Room>>,
    /// Who is typing in the wanted rooms, where that changed since.
    pub typing: HashMap<RoomNid, Vec<OwnedUserId>>,
    pins: Option<Pins>,
}

/// Keeps rooms in memory as long as it lives.
#[derive(Debug)]
pub(crate) struct Pins {
    live: Live,
    rooms: HashSet<RoomNid>,
}

impl Pins {
    /// Holds a room that is in memory.
    pub(crate) fn hold(&mut self, memory: &mut Memory, room_nid: RoomNid) {
        if let Some(slot) = memory.rooms.get_mut(&room_nid)
            && self.rooms.insert(room_nid)
        {
            slot.pins += 1;
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.rooms.is_empty() {
            return;
        }
        let mut memory = self.live.0.memory.write();
        for room_nid in &self.rooms {
            if let Some(slot) = memory.rooms.get_mut(room_nid) {
                slot.pins = slot.pins.saturating_sub(1);
            }
        }
        memory.evict(self.live.0.budget);
    }
}

/// What one attempt to look comes to.
enum Attempt {
    Done(Box<Look>),
    /// Rooms of which only the database knows whether they changed.
    Ask(Vec<RoomNid>),
    /// Rooms that are not in memory.
    Load(Vec<(RoomNid, OwnedRoomId)>),
    /// An entry is ahead of the stream as applied.
    Ahead(StreamPosition),
    /// The user was dropped from memory.
    Gone,
}

/// Who reads the rooms that are not in memory.
enum Claimed<'a> {
    /// Nobody: they are there meanwhile.
    All,
    /// This task, at least some of them.
    Ours(Claim<'a>),
    /// Other tasks.
    Others,
}

/// What the database told of rooms that memory knows nothing of.
#[derive(Default)]
struct Told {
    changed: HashSet<RoomNid>,
    unchanged: HashSet<RoomNid>,
}

impl Live {
    /// Looks at a user and the rooms wanted, all at one position.
    ///
    /// No query when they are in memory; else a few, whose number does not depend on how many
    /// rooms are wanted.
    pub async fn look(&self, watch: &Watch, want: &Want<'_>) -> Result<Look, Error> {
        let mut told = Told::default();
        let mut pins = Pins {
            live: self.clone(),
            rooms: HashSet::new(),
        };
        loop {
            let loaded = self.0.rooms_loaded.notified();
            tokio::pin!(loaded);
            loaded.as_mut().enable();
            let attempt = self.attempt(watch.user_id(), want, &told);
            match attempt {
                Attempt::Done(mut look) => {
                    look.pins = Some(pins);
                    return Ok(*look);
                }
                Attempt::Ask(room_nids) => {
                    let since = want.since.unwrap_or_default().stream;
                    let mut db = self.0.database.acquire().await?;
                    told.changed
                        .extend(rooms::changed_since(&mut db, &room_nids, since).await?);
                    told.unchanged.extend(room_nids);
                }
                Attempt::Load(missing) => {
                    match self.claim(missing, &mut pins, want, watch.user_id()) {
                        Claimed::All => {}
                        Claimed::Ours(claim) => self.load_rooms(claim, &mut pins).await?,
                        Claimed::Others => loaded.await,
                    }
                }
                Attempt::Ahead(position) => self.caught_up(position).await,
                Attempt::Gone => self.load_user(watch.user_id()).await?,
            }
        }
    }

    fn attempt(&self, user_id: &UserId, want: &Want<'_>, told: &Told) -> Attempt {
        let memory = self.0.memory.read();
        let Some(user) = memory.users.get(user_id).and_then(|slot| slot.user.clone()) else {
            return Attempt::Gone;
        };
        let mut ahead = user.loaded_at;
        let (mut found, mut typing) = (HashMap::new(), HashMap::new());
        let (mut ask, mut missing) = (Vec::new(), Vec::new());
        for room in user.rooms().filter(|room| (want.of)(room)) {
            let room_nid = room.room_nid;
            let types = memory.typing.get(&room_nid).filter(|typing| {
                want.since
                    .is_none_or(|since| typing.position > since.ephemeral)
            });
            match (memory.is_wanted(room, want, told), types) {
                (Some(false), None) => continue,
                (None, None) => {
                    ask.push(room_nid);
                    continue;
                }
                _ => {}
            }
            if let Some(types) = types {
                typing.insert(room_nid, types.users().cloned().collect());
            }
            match memory.rooms.get(&room_nid) {
                Some(slot) => {
                    ahead = ahead.max(slot.room.loaded_at);
                    slot.used.store(memory.next_use(), Ordering::Relaxed);
                    found.insert(room_nid, slot.room.clone());
                }
                None => missing.push((room_nid, room.room_id.clone())),
            }
        }
        if !ask.is_empty() {
            Attempt::Ask(ask)
        } else if !missing.is_empty() {
            Attempt::Load(missing)
        } else if ahead > memory.position {
            Attempt::Ahead(ahead)
        } else {
            Attempt::Done(Box::new(Look {
                position: memory.position,
                ephemeral: memory.ephemeral.last(),
                user,
                rooms: found,
                typing,
                pins: None,
            }))
        }
    }

    /// Undertakes to read rooms, and holds those wanted that are there already.
    fn claim(
        &self,
        missing: Vec<(RoomNid, OwnedRoomId)>,
        pins: &mut Pins,
        want: &Want<'_>,
        user_id: &UserId,
    ) -> Claimed<'_> {
        let mut memory = self.0.memory.write();
        let memory = &mut *memory;
        for (room_nid, _) in &missing {
            pins.rooms.remove(room_nid);
        }
        if let Some(user) = memory.users.get(user_id).and_then(|slot| slot.user.clone()) {
            for room in user.rooms().filter(|room| (want.of)(room)) {
                pins.hold(memory, room.room_nid);
            }
        }
        let missing: Vec<_> = missing
            .into_iter()
            .filter(|(room_nid, _)| !memory.rooms.contains_key(room_nid))
            .collect();
        if missing.is_empty() {
            return Claimed::All;
        }
        Claim::new(self, memory, missing).map_or(Claimed::Others, Claimed::Ours)
    }
}

impl Memory {
    /// Whether a reader wants a room; none when only the database knows.
    fn is_wanted(&self, room: &Membership, want: &Want<'_>, told: &Told) -> Option<bool> {
        let Some(since) = want.since else {
            return Some(true);
        };
        if room.position > since.stream {
            return Some(true);
        }
        if room.membership != MembershipState::Join {
            return Some(false);
        }
        let room_nid = room.room_nid;
        if told.changed.contains(&room_nid) {
            return Some(true);
        }
        match self.last_change(room_nid) {
            Some(position) => Some(position > since.stream),
            None if since.stream >= self.started || told.unchanged.contains(&room_nid) => {
                Some(false)
            }
            None => None,
        }
    }
}
