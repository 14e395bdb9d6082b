//! The presence of all users that are known, their timers, and what is to be passed on.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{OwnedUserId, UserId};
use storage::cluster::SharedPresence;
use types::{EphemeralPosition, RoomNid};

use super::{
    early::EarlyPresence,
    user_presence::{Rooms, UserPresence},
};
use crate::change_index::ChangeIndex;

/// How long changes are collected before they are passed on: the first after a pause is not delayed.
const FLUSH_INTERVAL: i64 = 1_000;
/// How often a process tells the others that it is there.
const HEARTBEAT_INTERVAL: i64 = 30_000;
/// What a process said is forgotten when it is silent for so long.
const PROCESS_EXPIRES_AFTER: i64 = 2 * 60_000;
/// How often it is looked whether other servers are to be told again.
const REPEAT_CHECK_INTERVAL: i64 = 5 * 60_000;
/// Other servers take a user for offline of whom they hear nothing for 30 minutes.
const REPEAT_AFTER: i64 = 20 * 60_000;
/// How many times the usual number of users may be known while they are online.
const MAX_ONLINE: usize = 8;

/// The presence of all users that are known. All times are milliseconds of the database's clock.
#[derive(Debug)]
pub(crate) struct PresenceStore {
    users: HashMap<OwnedUserId, UserPresence>,
    timers: BTreeSet<(i64, OwnedUserId)>,
    /// When each user last changed, or joined a room.
    pub(super) changes: ChangeIndex<OwnedUserId, EphemeralPosition>,
    /// What changed since the last flush.
    changed: HashSet<OwnedUserId>,
    /// What other processes are to be told.
    announced: HashSet<OwnedUserId>,
    /// Of whom other servers are to be told.
    federated: HashSet<OwnedUserId>,
    /// Users whose rooms are not known.
    unresolved: HashSet<OwnedUserId>,
    /// What other servers said of users of whom no room is known.
    pub(super) early: EarlyPresence,
    /// When the other processes were last heard.
    processes: HashMap<i64, i64>,
    /// Other processes that have not repeated what they said since some of it may have been missed,
    /// and until when they may.
    resync: Option<(HashMap<i64, HashSet<OwnedUserId>>, i64)>,
    flushed: i64,
    told_processes: i64,
    repeat_checked: i64,
    /// How many users are known before those who are offline are forgotten.
    max_users: usize,
}

/// Where an update comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A request to this process.
    Here,
    /// Another process, which tells other servers itself.
    Peer,
}

/// What a flush passes on.
#[derive(Debug, Default)]
pub(super) struct Flush {
    /// Users whose presence changed, with their rooms.
    pub(super) changed: Vec<(OwnedUserId, Arc<Rooms>)>,
    /// What other processes are told; nothing if it is empty and no heartbeat is due.
    pub(super) announced: Vec<SharedPresence>,
    pub(super) is_heartbeat: bool,
    /// Of whom other servers are to be told.
    pub(super) federated: Vec<OwnedUserId>,
}

impl PresenceStore {
    pub(crate) fn new(max_users: usize, now: i64) -> Self {
        Self {
            users: HashMap::new(),
            timers: BTreeSet::new(),
            changes: ChangeIndex::default(),
            changed: HashSet::new(),
            announced: HashSet::new(),
            federated: HashSet::new(),
            unresolved: HashSet::new(),
            early: EarlyPresence::default(),
            processes: HashMap::new(),
            resync: None,
            flushed: now - FLUSH_INTERVAL,
            told_processes: now,
            repeat_checked: now,
            max_users,
        }
    }

    pub(super) fn get(&self, user_id: &UserId) -> Option<&UserPresence> {
        self.users.get(user_id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OwnedUserId, &UserPresence)> {
        self.users.iter()
    }

    /// Updates a user; one that is not known is added. Returns whether something is to be passed on
    /// or a timer was set, so that the task that does has to look.
    pub(super) fn update(
        &mut self,
        user_id: &UserId,
        origin: Origin,
        now: i64,
        update: impl FnOnce(&mut UserPresence),
    ) -> bool {
        if !self.users.contains_key(user_id) {
            if self.is_full() {
                return false;
            }
            self.users
                .insert(user_id.to_owned(), UserPresence::default());
        }
        let Some(user) = self.users.get_mut(user_id) else {
            return false;
        };
        let is_told_here = origin == Origin::Here || user.has_devices();
        update(user);
        if user.rooms.is_none() {
            self.unresolved.insert(user_id.to_owned());
        }
        self.refresh(user_id, is_told_here, now)
    }

    /// The same for a user who is known.
    pub(super) fn update_known(
        &mut self,
        user_id: &UserId,
        now: i64,
        update: impl FnOnce(&mut UserPresence),
    ) -> bool {
        self.users.contains_key(user_id) && self.update(user_id, Origin::Here, now, update)
    }

    /// Makes room for one more user by forgetting those who are offline for the longest time.
    fn is_full(&mut self) -> bool {
        if self.users.len() < self.max_users {
            return false;
        }
        let is_forgettable = |user_id: &&OwnedUserId| {
            let user = self.users.get(*user_id);
            user.is_none_or(UserPresence::is_forgettable)
        };
        let some = self.max_users / 10 + 1;
        let forgotten = self.changes.oldest().filter(is_forgettable).take(some);
        for user_id in forgotten.cloned().collect::<Vec<_>>() {
            self.remove(&user_id);
        }
        self.users.len() >= self.max_users * MAX_ONLINE
    }

    fn remove(&mut self, user_id: &UserId) {
        if let Some(timer) = self.users.remove(user_id).and_then(|user| user.timer) {
            self.timers.remove(&(timer, user_id.to_owned()));
        }
        self.changes.remove(&user_id.to_owned());
        for set in [
            &mut self.changed,
            &mut self.announced,
            &mut self.federated,
            &mut self.unresolved,
        ] {
            set.remove(user_id);
        }
    }

    /// Brings a user up to date after an update or at a timer. Other servers are told by this process
    /// of what was caused here or concerns devices that it serves.
    fn refresh(&mut self, user_id: &UserId, is_told_here: bool, now: i64) -> bool {
        let Some(user) = self.users.get_mut(user_id) else {
            return false;
        };
        let is_told_here = is_told_here || user.has_devices();
        let mut is_new = false;
        if user.refresh(now) {
            is_new |= self.changed.insert(user_id.to_owned());
            if is_told_here && !user.is_remote() {
                self.federated.insert(user_id.to_owned());
            }
        }
        if user.must_announce() {
            is_new |= self.announced.insert(user_id.to_owned());
        }
        let next = user.next_change(now);
        // A timer that is too early is set anew when it fires.
        let is_armed = user
            .timer
            .is_some_and(|timer| next.is_none_or(|next| timer <= next));
        if let Some(next) = next.filter(|_| !is_armed) {
            let old = user.timer.replace(next);
            is_new |= self.timers.first().is_none_or(|(first, _)| next < *first);
            if let Some(old) = old {
                self.timers.remove(&(old, user_id.to_owned()));
            }
            self.timers.insert((next, user_id.to_owned()));
        }
        is_new
    }

    /// Applies what is due.
    pub(super) fn run_timers(&mut self, now: i64) {
        while let Some((_, user_id)) = self.timers.first().filter(|(due, _)| *due <= now).cloned() {
            self.timers.pop_first();
            if let Some(user) = self.users.get_mut(&user_id) {
                user.timer = None;
            }
            self.refresh(&user_id, false, now);
        }
        self.expire_processes(now);
        if now >= self.repeat_checked + REPEAT_CHECK_INTERVAL {
            self.repeat_checked = now;
            let is_due = |user: &UserPresence| {
                let is_shown = !user.is_remote() && user.has_devices() && user.is_online();
                is_shown && user.federated.is_none_or(|told| told + REPEAT_AFTER <= now)
            };
            let due = self.users.iter().filter(|(_, user)| is_due(user));
            self.federated
                .extend(due.map(|(user_id, _)| user_id.clone()));
        }
    }

    /// When there is something to do next.
    pub(super) fn next_due(&self) -> i64 {
        let timer = self.timers.first().map(|(due, _)| *due);
        let is_resolved = |user_id: &OwnedUserId| !self.unresolved.contains(user_id);
        let has_news = !self.announced.is_empty()
            || self.federated.iter().any(is_resolved)
            || self.changed.iter().any(is_resolved);
        let flush = has_news.then_some(self.flushed + FLUSH_INTERVAL);
        let resync = self.resync.as_ref().map(|(_, until)| *until);
        let heard = self.processes.values().min();
        let expiry = heard.map(|heard| heard + PROCESS_EXPIRES_AFTER);
        let times = [timer, flush, resync, expiry].into_iter().flatten();
        let heartbeat = self.told_processes + HEARTBEAT_INTERVAL;
        times.fold(
            heartbeat.min(self.repeat_checked + REPEAT_CHECK_INTERVAL),
            i64::min,
        )
    }

    /// Takes what is to be passed on, as far as it is time for that.
    pub(super) fn flush(&mut self, now: i64) -> Flush {
        let mut flush = Flush::default();
        if now >= self.told_processes + HEARTBEAT_INTERVAL {
            self.told_processes = now;
            flush.is_heartbeat = self.users.values().any(UserPresence::has_devices);
        }
        if now < self.flushed + FLUSH_INTERVAL {
            return flush;
        }
        let announced: Vec<OwnedUserId> = self.announced.drain().collect();
        flush.announced = self.shared(announced);
        let (users, unresolved) = (&self.users, &self.unresolved);
        let changed = self
            .changed
            .extract_if(|user_id| !unresolved.contains(user_id));
        flush.changed = changed
            .filter_map(|user_id| {
                let rooms = users.get(&user_id)?.rooms.clone()?;
                Some((user_id, rooms))
            })
            .collect();
        let federated = self
            .federated
            .extract_if(|user_id| !unresolved.contains(user_id));
        flush.federated = federated.collect();
        for user_id in &flush.federated {
            if let Some(user) = self.users.get_mut(user_id) {
                user.federated = Some(now);
            }
        }
        if !flush.announced.is_empty() {
            self.told_processes = now;
        }
        if !flush.changed.is_empty() || !flush.announced.is_empty() || !flush.federated.is_empty() {
            self.flushed = now;
        }
        flush
    }

    /// What other processes are told of users.
    fn shared(&mut self, users: Vec<OwnedUserId>) -> Vec<SharedPresence> {
        let shared = users.into_iter().filter_map(|user_id| {
            let user = self.users.get_mut(&user_id)?;
            Some(user.announce(&user_id))
        });
        shared.collect()
    }

    /// What this process can tell another one that knows nothing.
    pub(super) fn all_shared(&mut self) -> Vec<SharedPresence> {
        let own = self.users.iter().filter(|(_, user)| user.is_own());
        let own = own.map(|(user_id, _)| user_id.clone()).collect();
        self.shared(own)
    }

    /// Gives a change its position.
    pub(super) fn record(&mut self, user_id: &UserId, position: EphemeralPosition) {
        if let Some(user) = self.users.get_mut(user_id) {
            user.changed = position;
            self.changes.insert(user_id.to_owned(), position);
        }
    }

    /// A user has joined or left a room. Returns whether this process serves the user, or nothing if
    /// nothing is known of the user.
    pub(crate) fn set_joined(
        &mut self,
        user_id: &UserId,
        room_nid: RoomNid,
        joined: Option<EphemeralPosition>,
    ) -> Option<bool> {
        let user = self.users.get_mut(user_id)?;
        let is_here = user.has_devices();
        let rooms = Arc::make_mut(user.rooms.as_mut()?);
        match joined {
            Some(position) => {
                rooms.insert(room_nid, position);
                self.changes.insert(user_id.to_owned(), position);
            }
            None => {
                rooms.remove(&room_nid);
            }
        }
        if user.is_remote() && user.rooms.as_ref().is_none_or(|rooms| rooms.is_empty()) {
            self.remove(user_id);
        }
        Some(is_here)
    }

    /// Whether something is known of a user.
    pub(crate) fn contains(&self, user_id: &UserId) -> bool {
        self.users.contains_key(user_id)
    }

    /// Users whose rooms are to be read, at most so many.
    pub(super) fn unresolved(&self, limit: usize) -> Vec<OwnedUserId> {
        self.unresolved.iter().take(limit).cloned().collect()
    }

    /// The rooms of a user have become known. Users of other servers who are in none are forgotten.
    pub(super) fn resolve(&mut self, user_id: &UserId, rooms: Rooms) {
        self.unresolved.remove(user_id);
        let Some(user) = self.users.get_mut(user_id) else {
            return;
        };
        if user.is_remote() && rooms.is_empty() {
            self.remove(user_id);
        } else {
            user.rooms = Some(Arc::new(rooms));
        }
    }

    /// Another process has said something.
    pub(super) fn heard(&mut self, process: i64, users: &[SharedPresence], now: i64) -> bool {
        let mut is_new = self.processes.insert(process, now).is_none();
        for said in users {
            let user_id = &*said.user_id;
            if let Some(waiting) = self
                .resync
                .as_mut()
                .and_then(|(all, _)| all.get_mut(&process))
            {
                waiting.remove(user_id);
            }
            is_new |= self.update(user_id, Origin::Peer, now, |user| {
                user.peer_says(process, said, now);
            });
        }
        is_new
    }

    /// Some of what other processes said may have been missed: they have some time to repeat it.
    pub(super) fn begin_resync(&mut self, now: i64) {
        let mut waiting: HashMap<i64, HashSet<OwnedUserId>> = HashMap::new();
        for (user_id, user) in &self.users {
            for process in user.peers() {
                waiting.entry(process).or_default().insert(user_id.clone());
            }
        }
        self.resync = Some((waiting, now + HEARTBEAT_INTERVAL));
    }

    fn expire_processes(&mut self, now: i64) {
        let mut ended: Vec<(OwnedUserId, Option<i64>)> = Vec::new();
        if let Some((waiting, _)) = self.resync.take_if(|(_, until)| *until <= now) {
            let silent = waiting.into_iter();
            ended.extend(silent.flat_map(|(process, users)| {
                users
                    .into_iter()
                    .map(move |user_id| (user_id, Some(process)))
            }));
        }
        let before = self.processes.len();
        self.processes
            .retain(|_, heard| *heard + PROCESS_EXPIRES_AFTER > now);
        if self.processes.len() < before {
            let affected = self.users.iter().filter(|(_, user)| user.has_peers());
            ended.extend(affected.map(|(user_id, _)| (user_id.clone(), None)));
        }
        for (user_id, silent) in ended {
            let processes = &self.processes;
            if let Some(user) = self.users.get_mut(&user_id) {
                user.forget_peers(|process| {
                    silent != Some(process) && processes.contains_key(&process)
                });
            }
            // The process that would have told is gone.
            self.refresh(&user_id, true, now);
        }
    }
}

#[cfg(test)]
mod tests;
