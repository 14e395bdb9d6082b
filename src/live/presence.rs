//! Presence: who is online. Kept in memory only.
//!
//! A user is what the most present of the user's devices is. A device is present while it syncs and a
//! little longer; the process that serves its requests says so to the others. A user whose last
//! activity is long ago is shown as unavailable, which each process finds out by itself. What is
//! known of users of other servers comes from these, and expires.
//!
//! A change is visible to everyone who shares a room. Changes are collected for a moment and passed on
//! together by one task, which also runs the timers of all users.
//!
//! Spec: client-server, "Presence".

mod early;
mod run;
pub(crate) mod store;
mod updates;
mod user_presence;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ruma::{DeviceId, OwnedDeviceId, OwnedServerName, OwnedUserId, UserId};
pub use storage::cluster::PresenceState;
use storage::{Error, Message, cluster::PresenceMessage, memberships};
use tokio::sync::mpsc;
use types::{EphemeralPosition, RoomNid};

pub(crate) use self::run::joins_and_leaves;
use self::{
    store::Origin,
    user_presence::{Rooms, UserPresence},
};
pub use self::{updates::PresenceUpdate, user_presence::RemotePresence};
use crate::{Live, Subscription, cache::LiveCache, user::User};

/// The longest status message, in bytes.
pub const MAX_STATUS_MSG: usize = 1_000;

/// The presence of a user, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Whether the user is online.
    pub state: PresenceState,
    /// The time since the last activity, if that is known.
    pub last_active_ago: Option<Duration>,
    /// Whether the user is active now; the time of the last activity is not told anew until then.
    pub currently_active: bool,
    /// The status message.
    pub status_msg: Option<Arc<str>>,
}

/// Something of which other servers are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceNotice {
    /// The presence of a user of this server has changed, or is due to be repeated.
    Changed(OwnedUserId),
    /// A user of this server has joined a room.
    Joined(OwnedUserId, RoomNid),
    /// Users of these servers, which may include this one, have joined a room.
    ServersJoined(RoomNid, Vec<OwnedServerName>),
}

/// The presence of a user of this server, for other servers.
#[derive(Clone, Debug)]
pub struct LocalPresence {
    /// The user.
    pub user_id: OwnedUserId,
    /// The presence.
    pub presence: Presence,
    /// The rooms that the user is in.
    pub rooms: Vec<RoomNid>,
}

/// A device whose sync request waits; it is present until this is dropped, and a little longer.
#[derive(Debug)]
pub struct SyncingDevice {
    live: Live,
    user_id: OwnedUserId,
    device_id: OwnedDeviceId,
}

impl Drop for SyncingDevice {
    fn drop(&mut self) {
        self.live.update_known(&self.user_id, |user, now| {
            user.sync_ended(&self.device_id, now);
        });
    }
}

impl Live {
    /// Whether presence is known at all.
    pub fn has_presence(&self) -> bool {
        self.0.has_presence
    }

    /// Sets the presence that a device asks for, and the user's status message.
    pub fn set_presence(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        state: PresenceState,
        status_msg: Option<String>,
    ) {
        self.update_presence(user_id, |user, now| {
            user.device_requests(device_id, state, false, now);
            user.set_status(status_msg, now);
        });
    }

    /// A device begins to sync, and asks to be shown in this state. One that asks to be shown as
    /// offline leaves the presence of the user as it is.
    ///
    /// Spec: client-server, `set_presence` of `/sync`.
    pub fn begin_sync(
        &self,
        subscription: &Subscription,
        device_id: &DeviceId,
        state: PresenceState,
    ) -> Option<SyncingDevice> {
        if !self.0.has_presence || state == PresenceState::Offline {
            return None;
        }
        let user_id = subscription.user_id();
        self.update_presence(user_id, |user, now| {
            user.device_requests(device_id, state, true, now);
        });
        Some(SyncingDevice {
            live: self.clone(),
            user_id: user_id.to_owned(),
            device_id: device_id.to_owned(),
        })
    }

    /// A user does something on a device.
    pub fn record_activity(&self, user_id: &UserId, device_id: &DeviceId) {
        self.update_known(user_id, |user, now| user.activity(device_id, now));
    }

    /// Takes in what another server says of its users. What it says of those who share no room with
    /// anybody here is kept for a while: they may be about to.
    pub async fn receive_presence(
        &self,
        said: Vec<(OwnedUserId, RemotePresence)>,
    ) -> Result<(), Error> {
        if !self.0.has_presence {
            return Ok(());
        }
        let mut unknown: BTreeSet<OwnedUserId> = BTreeSet::new();
        for (user_id, said) in said {
            if self.0.presence.lock().contains(&user_id) {
                self.update_presence(&user_id, |user, now| user.remote_says(said, now));
            } else {
                // Before the rooms are read: a join that is applied meanwhile finds it.
                let now = self.now_ms();
                let mut store = self.0.presence.lock();
                store.early.keep(user_id.clone(), said, now);
                unknown.insert(user_id);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let mut db = self.0.database.acquire().await?;
        let in_rooms = memberships::joined_rooms_by_user(&mut db, &unknown).await?;
        drop(db);
        for user_id in in_rooms.keys() {
            let said = self.0.presence.lock().early.take(user_id, self.now_ms());
            if let Some(said) = said {
                self.update_presence(user_id, |user, now| user.remote_says(said, now));
            }
        }
        Ok(())
    }

    /// Takes in what other servers have said of users before these joined a room.
    pub(crate) fn take_in_early_presence(&self) {
        let joined = self.0.presence.lock().early.take_joined(self.now_ms());
        for (user_id, said) in joined {
            self.update_presence(&user_id, |user, now| user.remote_says(said, now));
        }
    }

    /// The presence of a user, `offline` if nothing is known.
    pub fn presence(&self, user_id: &UserId) -> Presence {
        let now = self.now_ms();
        let store = self.0.presence.lock();
        let presence = store.get(user_id).map(|user| shown(user, now));
        presence.unwrap_or_default()
    }

    /// Whether a user may see the presence of another one: they share a room.
    pub async fn may_see_presence(&self, reader: &UserId, of: &UserId) -> Result<bool, Error> {
        if reader == of {
            return Ok(true);
        }
        let mut db = self.0.database.acquire().await?;
        memberships::share_room(&mut db, reader, of).await
    }

    /// Sends to `notices` what other servers are to be told. What the receiver cannot keep up with is
    /// left out.
    pub fn notify_presence(&self, notices: mpsc::Sender<PresenceNotice>) {
        self.0.cache.write().presence_notices = Some(notices);
    }

    /// The presence of users of this server, as far as it is known.
    pub fn local_presence(&self, users: &[OwnedUserId]) -> Vec<LocalPresence> {
        let now = self.now_ms();
        let store = self.0.presence.lock();
        let known = users.iter().filter_map(|user_id| {
            let user = store.get(user_id).filter(|user| !user.is_remote());
            user.map(|user| local(user_id, user, now))
        });
        known.collect()
    }

    /// The users in a room who are online, and whose devices this process serves.
    pub fn local_presence_in(&self, room_nid: RoomNid) -> Vec<LocalPresence> {
        let now = self.now_ms();
        let store = self.0.presence.lock();
        let is_there = |user: &UserPresence| {
            let rooms = user.rooms.as_ref();
            let is_in = rooms.is_some_and(|rooms| rooms.contains_key(&room_nid));
            is_in && user.has_devices() && user.is_online()
        };
        let users = store.iter().filter(|(_, user)| is_there(user));
        users
            .map(|(user_id, user)| local(user_id, user, now))
            .collect()
    }

    /// Applies what another process says of users.
    pub(crate) fn apply_presence(&self, message: &PresenceMessage) {
        if !self.0.has_presence {
            return;
        }
        let PresenceMessage { process, users } = message;
        let is_news = self.0.presence.lock().heard(*process, users, self.now_ms());
        self.0.presence_unresolved.notify_one();
        if is_news {
            self.0.presence_changed.notify_one();
        }
    }

    /// Tells other processes all that this one knows.
    pub(crate) fn announce_presence(&self) {
        let users = self.0.presence.lock().all_shared();
        if self.0.has_presence && !users.is_empty() {
            self.tell_processes(users);
        }
    }

    /// Asks other processes for what they know. What they do not repeat is forgotten.
    pub(crate) fn request_presence(&self) {
        if self.0.has_presence {
            self.0.presence.lock().begin_resync(self.now_ms());
            self.0.database.publish(Message::RequestPresence);
            self.0.presence_changed.notify_one();
        }
    }

    fn update_presence(&self, user_id: &UserId, update: impl FnOnce(&mut UserPresence, i64)) {
        if !self.0.has_presence {
            return;
        }
        let now = self.now_ms();
        let (is_news, is_resolved) = {
            let mut store = self.0.presence.lock();
            let is_news = store.update(user_id, Origin::Here, now, |user| update(user, now));
            (
                is_news,
                store.get(user_id).is_none_or(|user| user.rooms.is_some()),
            )
        };
        if !is_resolved {
            self.take_rooms(user_id);
        }
        if is_news {
            self.0.presence_changed.notify_one();
        }
    }

    fn update_known(&self, user_id: &UserId, update: impl FnOnce(&mut UserPresence, i64)) {
        let now = self.now_ms();
        let mut store = self.0.presence.lock();
        if store.update_known(user_id, now, |user| update(user, now)) {
            self.0.presence_changed.notify_one();
        }
    }

    /// Takes the rooms of a user from the cache; has them read if they are not there.
    fn take_rooms(&self, user_id: &UserId) {
        let cache = self.0.cache.read();
        let entry = cache.users.get(user_id);
        let Some(user) = entry.and_then(|entry| entry.user.as_ref()) else {
            self.0.presence_unresolved.notify_one();
            return;
        };
        let rooms = user.joined_rooms();
        let rooms = rooms.map(|room_nid| (room_nid, EphemeralPosition::default()));
        self.0.presence.lock().resolve(user_id, rooms.collect());
    }

    /// The time in milliseconds by the database's clock.
    pub(crate) fn now_ms(&self) -> i64 {
        self.0.database.process().now_ms()
    }
}

impl LiveCache {
    /// Follows who joins and leaves a room.
    pub(crate) fn apply_presence_membership(
        &mut self,
        room_nid: RoomNid,
        user_id: &UserId,
        is_joined: bool,
    ) {
        let mut store = self.presence.lock();
        if !store.contains(user_id) {
            if is_joined {
                store.early.joined(user_id);
            }
            return;
        }
        let joined = is_joined.then(|| self.ephemeral.next());
        let is_here = store.set_joined(user_id, room_nid, joined);
        if is_here == Some(true)
            && is_joined
            && let Some(notices) = &self.presence_notices
        {
            let notice = PresenceNotice::Joined(user_id.to_owned(), room_nid);
            // Whoever cannot keep up misses some.
            let _full = notices.try_send(notice);
        }
    }
}

fn shown(user: &UserPresence, now: i64) -> Presence {
    Presence {
        state: user.shown.state,
        last_active_ago: user.last_active_ago(now),
        currently_active: user.shown.currently_active,
        status_msg: user.shown.status_msg.clone(),
    }
}

fn local(user_id: &UserId, user: &UserPresence, now: i64) -> LocalPresence {
    let rooms = user.rooms.as_deref().into_iter().flatten();
    LocalPresence {
        user_id: user_id.to_owned(),
        presence: shown(user, now),
        rooms: rooms.map(|(room_nid, _)| *room_nid).collect(),
    }
}

/// Whether a user is in one of these rooms.
fn shares_room(user: &User, rooms: &Rooms) -> bool {
    if rooms.len() < user.rooms.len() {
        rooms.keys().any(|room_nid| user.is_joined(*room_nid))
    } else {
        user.joined_rooms()
            .any(|room_nid| rooms.contains_key(&room_nid))
    }
}
