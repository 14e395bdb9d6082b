//! Applies committed changes to the cache, and collects the subscribers to notify.

use std::{collections::HashMap, sync::Arc};

use ruma::{UserId, events::room::member::MembershipState};
use storage::{
    Change,
    feed::ChangeBatch,
    memberships::Membership,
    partial_states::StatedServers,
    rooms::HeadChange,
    stream::{EventChange, StateChange, StateDelta},
};
use types::{RoomNid, StreamPosition};

use crate::{
    cache::LiveCache,
    event_cache::EventCache,
    notifications::Notifications,
    room::Room,
    room_state::RoomState,
    user::{LastChanged, User},
};

impl LiveCache {
    /// Applies a batch; events of state of the cached rooms go to `events`.
    pub(crate) fn apply_batch(
        &mut self,
        batch: &ChangeBatch,
        events: &EventCache,
        notifications: &mut Notifications,
    ) {
        for (position, change) in &batch.changes {
            match change {
                Change::State(delta) if self.rooms.contains_key(&delta.room_nid) => {
                    let new = delta.changes.iter().filter_map(|change| change.to.as_ref());
                    new.for_each(|event| events.insert(event));
                }
                Change::Event(change) => {
                    let redacted = change.redacts.iter();
                    redacted.for_each(|left| events.redact(left.event_nid, &left.pdu));
                }
                _ => {}
            }
            self.apply(*position, change, notifications);
        }
        for head in &batch.heads {
            self.advance_head(batch, head);
        }
    }

    /// Applies one committed change.
    fn apply(
        &mut self,
        position: StreamPosition,
        change: &Change,
        notifications: &mut Notifications,
    ) {
        match change {
            Change::Event(change) => self.apply_event(position, change, notifications),
            Change::State(delta) => self.apply_state(position, delta, notifications),
            Change::PartialState { room_nid, servers } => {
                self.apply_partial_state(position, *room_nid, servers.as_ref(), notifications);
            }
            Change::Receipt(receipt) => {
                self.record_change(receipt.room_nid, position);
                self.update_room(receipt.room_nid, position, |room| {
                    room.insert_receipt(position, receipt.clone());
                });
                notifications.add_members(self, receipt.room_nid, |last_changed| {
                    last_changed.advance(position);
                });
            }
            Change::AccountData(data) => {
                self.update_user(&data.user_id, position, |user| {
                    user.insert_account_data(position, data);
                });
                self.record(&data.user_id, notifications, |last_changed| {
                    last_changed.advance(position);
                });
            }
            Change::ToDevice(message) => {
                self.record(&message.user_id, notifications, |last_changed| {
                    let mut devices = last_changed.devices.lock();
                    devices
                        .entry(message.device_id.clone())
                        .or_default()
                        .record_to_device(position);
                    last_changed.advance(position);
                });
            }
            // For devices that no client of this server has.
            Change::OutgoingToDevice(_) => {}
            Change::KeyCounts { user_id, device_id } => {
                self.record(user_id, notifications, |last_changed| {
                    let mut devices = last_changed.devices.lock();
                    devices.entry(device_id.clone()).or_default().keys_changed = position;
                    last_changed.advance(position);
                });
            }
            Change::UserSigned { signer, .. } => {
                self.record(signer, notifications, |last_changed| {
                    last_changed.advance_device_lists(position);
                    last_changed.advance(position);
                });
            }
            Change::DeviceList { user_id } => {
                self.apply_device_list(position, user_id, notifications);
            }
        }
    }

    fn apply_event(
        &mut self,
        position: StreamPosition,
        change: &EventChange,
        notifications: &mut Notifications,
    ) {
        let event = &change.event;
        if !event.is_accepted() {
            return;
        }
        let room_nid = event.room_nid;
        self.record_change(room_nid, position);
        self.overviews.record_event(room_nid, position);
        self.update_room(room_nid, position, |room| room.apply(change));
        if let Some(redacted) = &change.redacts {
            self.update_state(room_nid, position, |state| state.redact(&redacted.pdu));
        }
        notifications.add_members(self, room_nid, |last_changed| {
            last_changed.advance(position);
        });
    }

    fn apply_state(
        &mut self,
        position: StreamPosition,
        delta: &StateDelta,
        notifications: &mut Notifications,
    ) {
        let room_nid = delta.room_nid;
        self.record_change(room_nid, position);
        self.overviews.record_state(room_nid, &delta.changes);
        self.update_state(room_nid, position, |state| state.apply(&delta.changes));
        self.update_room(room_nid, position, |room| {
            room.push_delta(position, delta.changes.as_slice().into());
        });
        notifications.add_members(self, room_nid, |last_changed| {
            last_changed.advance(position);
        });
        self.apply_joins(room_nid, &delta.changes);
        for change in &delta.changes {
            let Some((before, after)) = change.memberships() else {
                continue;
            };
            let Some(target) = member(change) else {
                continue;
            };
            let is_join = |membership| membership == Some(MembershipState::Join);
            if is_join(before) != is_join(after) {
                notifications.add_members(self, room_nid, |last_changed| {
                    last_changed.advance_device_lists(position);
                });
                self.record(target, notifications, |last_changed| {
                    last_changed.advance_device_lists(position);
                });
            }
            self.apply_membership(position, room_nid, change, target, notifications);
        }
    }

    /// Takes over that parts of the state of a room are not known, or all of it is from now on. Then
    /// events may have been judged otherwise: the room is read anew.
    fn apply_partial_state(
        &mut self,
        position: StreamPosition,
        room_nid: RoomNid,
        servers: Option<&StatedServers>,
        notifications: &mut Notifications,
    ) {
        self.record_change(room_nid, position);
        self.update_state(room_nid, position, |state| {
            state.set_stated_servers(servers, position);
        });
        if servers.is_none() {
            self.remove_room(room_nid);
            notifications.completed_states = true;
        }
        notifications.add_members(self, room_nid, |last_changed| {
            last_changed.advance(position);
        });
    }

    fn apply_membership(
        &mut self,
        position: StreamPosition,
        room_nid: RoomNid,
        change: &StateChange,
        target: &UserId,
        notifications: &mut Notifications,
    ) {
        let membership = room_membership(room_nid, change, position);
        let is_joined = membership
            .as_ref()
            .is_some_and(|room| room.membership == MembershipState::Join);
        let applied = self.update_user(target, position, |user| match membership {
            Some(membership) => user.insert_room(membership),
            None => user.remove_room(room_nid),
        });
        if applied && is_joined {
            if let Some(entry) = self.users.get(target) {
                let users = self.joined.entry(room_nid).or_default();
                users.insert(target.to_owned(), entry.last_changed.clone());
            }
        } else if applied {
            self.remove_member(room_nid, target);
        }
        if !is_joined {
            self.stop_typing(room_nid, target, notifications);
        }
        self.record(target, notifications, |last_changed| {
            last_changed.advance(position);
        });
    }

    /// Records a device list change for the user and for all users that share a room with it.
    fn apply_device_list(
        &mut self,
        position: StreamPosition,
        user_id: &UserId,
        notifications: &mut Notifications,
    ) {
        let record = |last_changed: &LastChanged| {
            last_changed.advance_device_lists(position);
            last_changed.advance(position);
        };
        self.record(user_id, notifications, record);
        if let Some(user) = self.users.get(user_id).and_then(|entry| entry.user.clone()) {
            for room_nid in user.joined_rooms() {
                notifications.add_members(self, room_nid, record);
            }
            return;
        }
        // Who shares a room is asked of the database outside of the loop that applies the stream.
        self.unresolved_device_lists
            .insert(position, user_id.to_owned());
    }

    pub(crate) fn record(
        &self,
        user_id: &UserId,
        notifications: &mut Notifications,
        record: impl FnOnce(&LastChanged),
    ) {
        if let Some(entry) = self.users.get(user_id) {
            record(&entry.last_changed);
            notifications.add(&entry.last_changed);
        }
    }

    /// Updates a cached user, unless the change is older than what was loaded.
    fn update_user(
        &mut self,
        user_id: &UserId,
        position: StreamPosition,
        update: impl FnOnce(&mut User),
    ) -> bool {
        let Some(user) = self
            .users
            .get_mut(user_id)
            .and_then(|entry| entry.user.as_mut())
        else {
            return false;
        };
        if position <= user.loaded_at {
            return false;
        }
        let before = user.weight();
        let user = Arc::make_mut(user);
        update(user);
        let after = user.weight();
        self.recharge(before, after);
        true
    }

    fn advance_head(&mut self, batch: &ChangeBatch, head: &HeadChange) {
        let mut follows = true;
        self.update_state(head.room_nid, batch.until, |state| {
            follows = state.advance(head);
        });
        if !follows {
            self.remove_room(head.room_nid);
        }
    }

    /// Updates the state of a cached room, unless the change is older than what was loaded.
    fn update_state(
        &mut self,
        room_nid: RoomNid,
        position: StreamPosition,
        update: impl FnOnce(&mut RoomState),
    ) {
        let Some(entry) = self.rooms.get_mut(&room_nid) else {
            return;
        };
        if position <= entry.state.loaded_at {
            return;
        }
        let before = entry.weight();
        update(Arc::make_mut(&mut entry.state));
        if let Some(room) = &mut entry.room {
            Arc::make_mut(room).state = entry.state.clone();
        }
        let after = entry.weight();
        self.recharge(before, after);
    }

    /// Updates all but the state of a cached room, unless the change is older than what was loaded.
    fn update_room(
        &mut self,
        room_nid: RoomNid,
        position: StreamPosition,
        update: impl FnOnce(&mut Room),
    ) {
        let Some(entry) = self.rooms.get_mut(&room_nid) else {
            return;
        };
        let before = entry.weight();
        let Some(room) = &mut entry.room else {
            return;
        };
        if position <= room.loaded_at {
            return;
        }
        update(Arc::make_mut(room));
        let after = entry.weight();
        self.recharge(before, after);
    }
}

/// Applies a later change to a user that was just loaded.
pub(crate) fn catch_up_user(user: &mut User, position: StreamPosition, change: &Change) {
    if position <= user.loaded_at {
        return;
    }
    match change {
        Change::AccountData(data) if data.user_id == user.id => {
            user.insert_account_data(position, data);
        }
        Change::State(delta) => {
            for change in &delta.changes {
                if change.memberships().is_none() || member(change) != Some(&*user.id) {
                    continue;
                }
                match room_membership(delta.room_nid, change, position) {
                    Some(membership) => user.insert_room(membership),
                    None => user.remove_room(delta.room_nid),
                }
            }
        }
        _ => {}
    }
}

/// The user whose membership changes.
fn member(change: &StateChange) -> Option<&UserId> {
    let user_id = change.event()?.state_key()?;
    <&UserId>::try_from(user_id).ok()
}

/// The membership that a member has after a change; none if it is gone.
fn room_membership(
    room_nid: RoomNid,
    change: &StateChange,
    position: StreamPosition,
) -> Option<Membership> {
    let event = change.to.as_ref()?;
    Some(Membership {
        room_nid,
        room_id: event.pdu.room_id().clone(),
        membership: event.pdu.membership()?,
        sender: event.pdu.sender().to_owned(),
        event_nid: event.nid,
        position,
        forgotten: false,
    })
}

/// Applies a later batch to the states of rooms that were just loaded. One that does not follow is
/// dropped.
pub(crate) fn catch_up_states(states: &mut HashMap<RoomNid, RoomState>, batch: &ChangeBatch) {
    for (position, change) in &batch.changes {
        let room_nid = match change {
            Change::Event(change) => change.event.room_nid,
            Change::State(delta) => delta.room_nid,
            Change::PartialState { room_nid, .. } => *room_nid,
            _ => continue,
        };
        let state = states.get_mut(&room_nid);
        let Some(state) = state.filter(|state| *position > state.loaded_at) else {
            continue;
        };
        match change {
            Change::Event(change) => {
                let redacted = change.redacts.iter();
                redacted.for_each(|redacted| state.redact(&redacted.pdu));
            }
            Change::State(delta) => state.apply(&delta.changes),
            Change::PartialState { servers, .. } => {
                state.set_stated_servers(servers.as_ref(), *position);
            }
            _ => {}
        }
    }
    for head in &batch.heads {
        if let Some(state) = states.get_mut(&head.room_nid)
            && batch.until > state.loaded_at
            && !state.advance(head)
        {
            states.remove(&head.room_nid);
        }
    }
}

/// Applies a later change to rooms that were just loaded, except for their state.
pub(crate) fn catch_up_rooms(
    rooms: &mut HashMap<RoomNid, Room>,
    position: StreamPosition,
    change: &Change,
) {
    let room_nid = match change {
        Change::Event(change) => change.event.room_nid,
        Change::State(delta) => delta.room_nid,
        Change::Receipt(receipt) => receipt.room_nid,
        Change::PartialState { room_nid, .. } => *room_nid,
        _ => return,
    };
    let Some(room) = rooms.get_mut(&room_nid) else {
        return;
    };
    if position <= room.loaded_at {
        return;
    }
    match change {
        // Events may have been judged otherwise since they were read.
        Change::PartialState { servers: None, .. } => drop(rooms.remove(&room_nid)),
        Change::Event(change) => room.apply(change),
        Change::State(delta) => room.push_delta(position, delta.changes.as_slice().into()),
        Change::Receipt(receipt) => room.insert_receipt(position, receipt.clone()),
        _ => {}
    }
}
