//! The presence of one user: what the user's devices, or the user's server, say of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ruma::{DeviceId, OwnedDeviceId, UserId};
use storage::cluster::{PresenceState, SharedPresence};
use types::{EphemeralPosition, RoomNid};

/// A device counts as gone so long after its last request.
pub(crate) const OFFLINE_AFTER: i64 = 30_000;
/// A user is shown as unavailable so long after the last activity.
///
/// Spec: client-server, "Idle timeout".
pub(crate) const IDLE_AFTER: i64 = 5 * 60_000;
/// A user of another server counts as offline so long after that server last said something else.
pub(crate) const REMOTE_EXPIRES_AFTER: i64 = 30 * 60_000;
/// How often other processes are told that a user goes on being active.
const ACTIVITY_INTERVAL: i64 = 60_000;
/// How many devices of a user are distinguished.
const MAX_DEVICES: usize = 100;

/// How often what is shown of a user changes: some times at once, then once in an interval.
const CHANGE_INTERVAL: i64 = 5_000;
const CHANGE_BURST: i64 = 10;

/// The rooms that a user is in, each with the position at which the user joined it, if that is known.
pub(crate) type Rooms = HashMap<RoomNid, EphemeralPosition>;

/// What clients are told of a user, but for the time of the last activity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) state: PresenceState,
    pub(crate) currently_active: bool,
    pub(crate) status_msg: Option<Arc<str>>,
}

/// The presence of a user. All times are milliseconds of the database's clock.
#[derive(Debug, Default)]
pub(crate) struct UserPresence {
    /// Devices whose requests this process serves.
    devices: Vec<Device>,
    /// What other processes say of the devices that they serve.
    peers: Vec<(i64, PresenceState)>,
    remote: Option<Remote>,
    last_active: Option<i64>,
    status_msg: Option<Arc<str>>,
    status_set: i64,
    /// Whether the user set the status at this process.
    status_is_own: bool,
    announced: Announced,
    /// Up to when the changes so far use up the allowed rate.
    changes_until: i64,
    /// When other servers were last told.
    pub(crate) federated: Option<i64>,
    /// What is shown to clients.
    pub(crate) shown: Shown,
    /// When it last changed.
    pub(crate) changed: EphemeralPosition,
    /// None until they are read.
    pub(crate) rooms: Option<Arc<Rooms>>,
    /// When the user is looked at again.
    pub(crate) timer: Option<i64>,
}

#[derive(Debug)]
struct Device {
    id: OwnedDeviceId,
    state: PresenceState,
    /// How many requests wait.
    syncs: usize,
    last_seen: i64,
}

/// What the user's server says.
#[derive(Debug)]
struct Remote {
    state: PresenceState,
    currently_active: bool,
    expires: i64,
    /// Whether this process has received it.
    is_own: bool,
    /// Whether other processes are to be told.
    must_announce: bool,
}

/// What other processes were last told.
#[derive(Debug, Default)]
struct Announced {
    state: PresenceState,
    status_set: i64,
    last_active: Option<i64>,
}

/// What another server says of its user.
#[derive(Clone, Debug)]
pub struct RemotePresence {
    /// Whether the user is online.
    pub state: PresenceState,
    /// The time since the last activity.
    pub last_active_ago: Duration,
    /// Whether the user is active now.
    pub currently_active: bool,
    /// The status message.
    pub status_msg: Option<String>,
}

impl UserPresence {
    /// A request of a device asks for a state; it waits if `syncs`.
    pub(crate) fn device_requests(
        &mut self,
        device_id: &DeviceId,
        state: PresenceState,
        syncs: bool,
        now: i64,
    ) {
        if state == PresenceState::Offline {
            self.devices
                .retain(|device| device.id != device_id || device.syncs > 0);
        }
        let device = self
            .devices
            .iter_mut()
            .find(|device| device.id == device_id);
        let Some(device) = device else {
            if state != PresenceState::Offline && self.devices.len() < MAX_DEVICES {
                self.devices.push(Device {
                    id: device_id.to_owned(),
                    state,
                    syncs: usize::from(syncs),
                    last_seen: now,
                });
                self.comes_online(state, now);
            }
            return;
        };
        device.syncs += usize::from(syncs);
        device.last_seen = now;
        let before = std::mem::replace(&mut device.state, state);
        if before != PresenceState::Online {
            self.comes_online(state, now);
        }
    }

    /// Changing to `online` is activity.
    fn comes_online(&mut self, state: PresenceState, now: i64) {
        if state == PresenceState::Online {
            self.last_active = self.last_active.max(Some(now));
        }
    }

    /// A waiting request has ended.
    pub(crate) fn sync_ended(&mut self, device_id: &DeviceId, now: i64) {
        let device = self
            .devices
            .iter_mut()
            .find(|device| device.id == device_id);
        if let Some(device) = device {
            device.syncs = device.syncs.saturating_sub(1);
            device.last_seen = now;
        }
    }

    /// The user sets the status.
    pub(crate) fn set_status(&mut self, status_msg: Option<String>, now: i64) {
        self.status_msg = status_msg.map(Arc::from);
        self.status_set = now.max(self.status_set + 1);
        self.status_is_own = true;
        self.last_active = self.last_active.max(Some(now));
    }

    /// The user does something on a device. Without effect if the device is not online, or hides that.
    pub(crate) fn activity(&mut self, device_id: &DeviceId, now: i64) {
        let device = self
            .devices
            .iter_mut()
            .find(|device| device.id == device_id);
        if let Some(device) = device.filter(|device| device.state != PresenceState::Offline) {
            device.state = PresenceState::Online;
            device.last_seen = now;
            self.last_active = self.last_active.max(Some(now));
        }
    }

    /// The user's server says something.
    pub(crate) fn remote_says(&mut self, said: RemotePresence, now: i64) {
        let ago = i64::try_from(said.last_active_ago.as_millis()).unwrap_or(i64::MAX);
        self.last_active = Some(now.saturating_sub(ago).max(0));
        self.status_msg = said.status_msg.map(Arc::from);
        self.status_set = now;
        self.remote = Some(Remote {
            state: said.state,
            currently_active: said.currently_active,
            expires: now + REMOTE_EXPIRES_AFTER,
            is_own: true,
            must_announce: true,
        });
    }

    /// Another process says something.
    pub(crate) fn peer_says(&mut self, process: i64, said: &SharedPresence, now: i64) {
        if said.status_set > self.status_set {
            self.status_msg = said.status_msg.as_deref().map(Arc::from);
            self.status_set = said.status_set;
            self.announced.status_set = said.status_set;
            self.status_is_own = false;
        }
        if said.is_remote {
            self.last_active = said.last_active;
            self.remote = Some(Remote {
                state: said.state,
                currently_active: said.currently_active,
                expires: now + REMOTE_EXPIRES_AFTER,
                is_own: false,
                must_announce: false,
            });
            return;
        }
        self.last_active = self.last_active.max(said.last_active);
        self.peers.retain(|(known, _)| *known != process);
        if said.state != PresenceState::Offline {
            self.peers.push((process, said.state));
        }
    }

    /// Forgets what other processes have said, unless `keep` says otherwise.
    pub(crate) fn forget_peers(&mut self, keep: impl Fn(i64) -> bool) {
        self.peers.retain(|(process, _)| keep(*process));
    }

    /// Whether another process serves devices of the user.
    pub(crate) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// The processes that serve devices of the user.
    pub(crate) fn peers(&self) -> impl Iterator<Item = i64> {
        self.peers.iter().map(|(process, _)| *process)
    }

    /// Whether the user is shown as online or unavailable.
    pub(crate) fn is_online(&self) -> bool {
        self.shown.state != PresenceState::Offline
    }

    /// Whether this process serves devices of the user.
    pub(crate) fn has_devices(&self) -> bool {
        !self.devices.is_empty()
    }

    /// Whether the user is one of another server.
    pub(crate) fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether nothing is lost with the user.
    pub(crate) fn is_forgettable(&self) -> bool {
        !self.is_online() && !self.has_devices() && !self.has_peers()
    }

    /// The time since the last activity.
    pub(crate) fn last_active_ago(&self, now: i64) -> Option<Duration> {
        let ago = now.saturating_sub(self.last_active?).max(0);
        Some(Duration::from_millis(ago.unsigned_abs()))
    }

    /// Brings up to date what is shown; returns whether it changed. What changes too often waits.
    pub(crate) fn refresh(&mut self, now: i64) -> bool {
        self.devices.retain(|device| !device.is_gone(now));
        let next = self.next_shown(now);
        if next == self.shown || !self.may_change(now) {
            return false;
        }
        self.changes_until = self.changes_until.max(now) + CHANGE_INTERVAL;
        self.shown = next;
        true
    }

    fn next_shown(&self, now: i64) -> Shown {
        let status_msg = self.status_msg.clone();
        if let Some(remote) = self.remote.as_ref() {
            let is_there = remote.expires > now;
            let state = if is_there {
                remote.state
            } else {
                PresenceState::Offline
            };
            return Shown {
                state,
                currently_active: remote.currently_active && state == PresenceState::Online,
                status_msg,
            };
        }
        let state = match self.best() {
            PresenceState::Online if self.idle_at() <= now => PresenceState::Unavailable,
            state => state,
        };
        // Spec: while `currently_active` is true, no further updates of the last activity are sent.
        Shown {
            state,
            currently_active: state == PresenceState::Online,
            status_msg,
        }
    }

    /// What the devices of this process ask for together.
    fn own_state(&self) -> PresenceState {
        let states = self.devices.iter().map(|device| device.state);
        states.max().unwrap_or_default()
    }

    /// What all devices ask for together, whether the user is idle or not.
    fn best(&self) -> PresenceState {
        let peers = self.peers.iter().map(|(_, state)| *state);
        peers.max().unwrap_or_default().max(self.own_state())
    }

    fn idle_at(&self) -> i64 {
        self.last_active.unwrap_or_default() + IDLE_AFTER
    }

    fn may_change(&self, now: i64) -> bool {
        self.changes_until - now <= CHANGE_INTERVAL * (CHANGE_BURST - 1)
    }

    /// When something may change of which nobody tells.
    pub(crate) fn next_change(&self, now: i64) -> Option<i64> {
        if self.next_shown(now) != self.shown {
            return Some(self.changes_until - CHANGE_INTERVAL * (CHANGE_BURST - 1));
        }
        if let Some(remote) = &self.remote {
            return Some(remote.expires).filter(|_| self.shown.state != PresenceState::Offline);
        }
        let gone = self.devices.iter().filter_map(Device::gone_at).min();
        let idle = Some(self.idle_at()).filter(|_| self.shown.state == PresenceState::Online);
        gone.into_iter().chain(idle).min()
    }

    /// Whether other processes are to be told something.
    pub(crate) fn must_announce(&self) -> bool {
        if let Some(remote) = &self.remote {
            return remote.must_announce;
        }
        let is_active = self.own_state() == PresenceState::Online
            && self.last_active.unwrap_or_default()
                >= self.announced.last_active.unwrap_or_default() + ACTIVITY_INTERVAL;
        self.own_state() != self.announced.state
            || self.status_set > self.announced.status_set
            || is_active
    }

    /// Whether other processes learn something of the user from this one.
    pub(crate) fn is_own(&self) -> bool {
        let is_received_here = self.remote.as_ref().is_some_and(|remote| remote.is_own);
        self.has_devices() || self.status_is_own || is_received_here
    }

    /// What other processes are told; counts as told.
    pub(crate) fn announce(&mut self, user_id: &UserId) -> SharedPresence {
        let (state, is_remote) = match &mut self.remote {
            Some(remote) => {
                remote.must_announce = false;
                (remote.state, true)
            }
            None => (self.own_state(), false),
        };
        self.announced = Announced {
            state,
            status_set: self.status_set,
            last_active: self.last_active,
        };
        SharedPresence {
            user_id: user_id.to_owned(),
            state,
            currently_active: self
                .remote
                .as_ref()
                .is_some_and(|remote| remote.currently_active),
            last_active: self.last_active,
            status_msg: self.status_msg.as_deref().map(str::to_owned),
            status_set: self.status_set,
            is_remote,
        }
    }
}

impl Device {
    fn gone_at(&self) -> Option<i64> {
        (self.syncs == 0).then_some(self.last_seen + OFFLINE_AFTER)
    }

    fn is_gone(&self, now: i64) -> bool {
        let is_offline = self.state == PresenceState::Offline && self.syncs == 0;
        is_offline || self.gone_at().is_some_and(|gone_at| gone_at <= now)
    }
}
