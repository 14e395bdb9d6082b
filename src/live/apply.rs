//! Taking in what was committed: memory is brought up to date and the users concerned are noted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use storage::{Change, StoredEvent, Verdict, memberships::Membership, stream::EventChange};
use types::{RoomNid, StreamPosition};

use crate::{
    memory::Memory,
    room::Room,
    user::{Marks, User},
};

/// Users to wake, each once.
#[derive(Debug, Default)]
pub(crate) struct Wakes(BTreeMap<usize, Arc<Marks>>);

impl Wakes {
    fn add(&mut self, marks: &Arc<Marks>) {
        self.0
            .entry(Arc::as_ptr(marks).addr())
            .or_insert_with(|| marks.clone());
    }

    /// Adds everybody in memory who is joined to the room, and marks what changed for them.
    pub(crate) fn add_members(
        &mut self,
        memory: &Memory,
        room_nid: RoomNid,
        mark: impl Fn(&Marks),
    ) {
        for marks in memory
            .joined
            .get(&room_nid)
            .into_iter()
            .flat_map(HashMap::values)
        {
            mark(marks);
            self.add(marks);
        }
    }

    pub(crate) fn wake(self) {
        for marks in self.0.into_values() {
            marks.wake.notify_waiters();
        }
    }
}

/// With whom users who are not in memory share rooms; none: not known.
pub(crate) type Sharing = HashMap<OwnedUserId, Option<Vec<OwnedUserId>>>;

impl Memory {
    /// Applies one committed change.
    pub(crate) fn apply(
        &mut self,
        position: StreamPosition,
        change: &Change,
        sharing: &Sharing,
        wakes: &mut Wakes,
    ) {
        match change {
            Change::Event(change) => self.apply_event(position, change, wakes),
            Change::Receipt(receipt) => {
                self.changes.insert(receipt.room_nid, position);
                self.update_room(receipt.room_nid, position, |room| {
                    room.receipt(position, receipt.clone());
                    true
                });
                wakes.add_members(self, receipt.room_nid, |marks| marks.change(position));
            }
            Change::AccountData(data) => {
                self.update_user(&data.user_id, position, |user| {
                    user.put_account_data(position, data);
                });
                self.mark(&data.user_id, wakes, |marks| marks.change(position));
            }
            Change::ToDevice(message) => self.mark(&message.user_id, wakes, |marks| {
                let mut devices = marks.devices.lock();
                devices
                    .entry(message.device_id.clone())
                    .or_default()
                    .arrive(position);
                marks.change(position);
            }),
            Change::KeyCounts { user_id, device_id } => self.mark(user_id, wakes, |marks| {
                let mut devices = marks.devices.lock();
                devices.entry(device_id.clone()).or_default().keys_changed = position;
                marks.change(position);
            }),
            Change::UserSigned { signer, .. } => {
                self.mark(signer, wakes, |marks| {
                    marks.change_device_lists(position);
                    marks.change(position);
                });
            }
            Change::DeviceList { user_id } => {
                self.apply_device_list(position, user_id, sharing, wakes);
            }
        }
    }

    fn apply_event(&mut self, position: StreamPosition, change: &EventChange, wakes: &mut Wakes) {
        let event = &change.event;
        if event.verdict != Verdict::Accepted {
            return;
        }
        let room_nid = event.room_nid;
        self.changes.insert(room_nid, position);
        self.update_room(room_nid, position, |room| room.apply(change));
        wakes.add_members(self, room_nid, |marks| marks.change(position));
        if !change.current {
            return;
        }
        if let Some(membership) = event.pdu.membership()
            && let Some(target) = event
                .pdu
                .state_key()
                .and_then(|key| <&UserId>::try_from(key).ok())
        {
            let before = event
                .replaces
                .as_ref()
                .and_then(|replaced| replaced.pdu.membership());
            if (before == Some(MembershipState::Join)) != (membership == MembershipState::Join) {
                wakes.add_members(self, room_nid, |marks| marks.change_device_lists(position));
                self.mark(target, wakes, |marks| marks.change_device_lists(position));
            }
            self.apply_membership(position, change, membership, target, wakes);
        }
    }

    fn apply_membership(
        &mut self,
        position: StreamPosition,
        change: &EventChange,
        membership: MembershipState,
        target: &UserId,
        wakes: &mut Wakes,
    ) {
        let event = &change.event;
        let is_joined = membership == MembershipState::Join;
        let relation = relation(event, membership, position);
        let applied = self.update_user(target, position, |user| user.put_room(relation));
        if applied && is_joined {
            if let Some(slot) = self.users.get(target) {
                let users = self.joined.entry(event.room_nid).or_default();
                users.insert(target.to_owned(), slot.marks.clone());
            }
        } else if applied {
            self.unlist(event.room_nid, target);
        }
        if !is_joined {
            self.stop_typing(event.room_nid, target, wakes);
        }
        self.mark(target, wakes, |marks| marks.change(position));
    }

    /// Marks everybody who shares a room with a user whose devices changed, and the user.
    fn apply_device_list(
        &mut self,
        position: StreamPosition,
        user_id: &UserId,
        sharing: &Sharing,
        wakes: &mut Wakes,
    ) {
        let mark = |marks: &Marks| {
            marks.change_device_lists(position);
            marks.change(position);
        };
        self.mark(user_id, wakes, mark);
        if let Some(user) = self.users.get(user_id).and_then(|slot| slot.user.clone()) {
            for room_nid in user.joined_rooms() {
                wakes.add_members(self, room_nid, mark);
            }
            return;
        }
        match sharing.get(user_id) {
            Some(Some(others)) => {
                for other in others {
                    self.mark(other, wakes, mark);
                }
            }
            // Too many look, rather than too few.
            _ => {
                for slot in self.users.values() {
                    mark(&slot.marks);
                    wakes.add(&slot.marks);
                }
            }
        }
    }

    fn mark(&self, user_id: &UserId, wakes: &mut Wakes, mark: impl FnOnce(&Marks)) {
        if let Some(slot) = self.users.get(user_id) {
            mark(&slot.marks);
            wakes.add(&slot.marks);
        }
    }

    /// Changes a user in memory, unless the change was already there when the user was read.
    fn update_user(
        &mut self,
        user_id: &UserId,
        position: StreamPosition,
        update: impl FnOnce(&mut User),
    ) -> bool {
        let Some(user) = self
            .users
            .get_mut(user_id)
            .and_then(|slot| slot.user.as_mut())
        else {
            return false;
        };
        if position <= user.loaded_at {
            return false;
        }
        let before = user.weight();
        let user = Arc::make_mut(user);
        update(user);
        self.bytes = (self.bytes + user.weight()).saturating_sub(before);
        true
    }

    /// Changes a room in memory, unless the change was already there when the room was read. A
    /// room whose update says `false` is dropped, to be read anew.
    fn update_room(
        &mut self,
        room_nid: RoomNid,
        position: StreamPosition,
        update: impl FnOnce(&mut Room) -> bool,
    ) {
        let Some(slot) = self.rooms.get_mut(&room_nid) else {
            return;
        };
        if position <= slot.room.loaded_at {
            return;
        }
        let before = slot.room.weight;
        let room = Arc::make_mut(&mut slot.room);
        let keep = update(room);
        self.bytes = (self.bytes + room.weight).saturating_sub(before);
        if !keep {
            self.take_room(room_nid);
        }
    }
}

/// Brings a user who was read from the database up to a later change.
pub(crate) fn catch_up_user(user: &mut User, position: StreamPosition, change: &Change) {
    if position <= user.loaded_at {
        return;
    }
    match change {
        Change::AccountData(data) if data.user_id == user.id => {
            user.put_account_data(position, data);
        }
        Change::Event(EventChange {
            event,
            current: true,
            ..
        }) if event.verdict == Verdict::Accepted
            && event.pdu.state_key() == Some(user.id.as_str()) =>
        {
            if let Some(membership) = event.pdu.membership() {
                user.put_room(relation(event, membership, position));
            }
        }
        _ => {}
    }
}

/// What a member event makes of its user and its room.
fn relation(
    event: &StoredEvent,
    membership: MembershipState,
    position: StreamPosition,
) -> Membership {
    Membership {
        room_nid: event.room_nid,
        room_id: event.pdu.room_id().clone(),
        membership,
        event_nid: event.nid,
        position,
        forgotten: false,
    }
}

/// Brings rooms that were read from the database up to a later change; takes away the one that must
/// be read once more.
pub(crate) fn catch_up_rooms(
    rooms: &mut HashMap<RoomNid, Room>,
    position: StreamPosition,
    change: &Change,
) {
    let room_nid = match change {
        Change::Event(change) => change.event.room_nid,
        Change::Receipt(receipt) => receipt.room_nid,
        _ => return,
    };
    let Some(room) = rooms.get_mut(&room_nid) else {
        return;
    };
    if position <= room.loaded_at {
        return;
    }
    let keep = match change {
        Change::Event(change) => room.apply(change),
        Change::Receipt(receipt) => {
            room.receipt(position, receipt.clone());
            true
        }
        _ => true,
    };
    if !keep {
        rooms.remove(&room_nid);
    }
}
