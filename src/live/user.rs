//! A cached user: memberships, account data, and last-changed positions.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use event::invite_permission::{InviteDecision, InvitePermission};
use parking_lot::Mutex;
use ruma::{
    OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
    push::Ruleset,
};
use storage::{memberships::Membership, one_time_keys::KeyCounts, stream::AccountData};
use tokio::sync::Notify;
use types::{EphemeralPosition, RoomNid, StreamPosition};

use crate::{change_index::ChangeIndex, unread::KnownCounts};

/// The type of the account data that lists whom a user ignores.
pub const IGNORED_USERS: &str = "m.ignored_user_list";
const PUSH_RULES: &str = "m.push_rules";
const DIRECT: &str = "m.direct";

/// About how many bytes parsed push rules take.
const RULES_WEIGHT: usize = 12 * 1024;

/// A user as of a position; it is cloned on write only while a view holds the old one.
#[derive(Clone, Debug)]
pub struct User {
    pub(crate) id: OwnedUserId,
    pub(crate) rooms: HashMap<RoomNid, Membership>,
    /// By room (0 for the account itself) and type.
    account_data: BTreeMap<(RoomNid, Arc<str>), AccountDataEntry>,
    /// When the account data of each room last changed.
    room_data_changes: ChangeIndex<RoomNid, StreamPosition>,
    ignored: Vec<OwnedUserId>,
    invite_permission: Arc<InvitePermission>,
    push_rules: OnceLock<Arc<Ruleset>>,
    direct_rooms: OnceLock<Arc<HashSet<OwnedRoomId>>>,
    /// The user was read from the database as it stood here.
    pub(crate) loaded_at: StreamPosition,
}

/// An entry of a user's account data.
#[derive(Clone, Debug)]
pub struct AccountDataEntry {
    /// When it was last set.
    pub position: StreamPosition,
    /// The content, a JSON object.
    pub content: Arc<str>,
}

impl AccountDataEntry {
    /// Whether it was deleted (MSC3391): clients that know the data get it empty, others not at all.
    pub fn is_deleted(&self) -> bool {
        &*self.content == "{}"
    }
}

impl User {
    pub(crate) fn new(
        user_id: OwnedUserId,
        rooms: Vec<Membership>,
        account_data: Vec<(StreamPosition, AccountData)>,
        loaded_at: StreamPosition,
    ) -> Self {
        let mut user = Self {
            id: user_id,
            rooms: rooms
                .into_iter()
                .map(|room| (room.room_nid, room))
                .collect(),
            account_data: BTreeMap::new(),
            room_data_changes: ChangeIndex::default(),
            ignored: Vec::new(),
            invite_permission: Arc::default(),
            push_rules: OnceLock::new(),
            direct_rooms: OnceLock::new(),
            loaded_at,
        };
        for (position, data) in account_data {
            user.insert_account_data(position, &data);
        }
        user
    }

    /// The user's id.
    pub fn user_id(&self) -> &UserId {
        &self.id
    }

    /// All memberships of the user, forgotten rooms included.
    pub fn rooms(&self) -> impl ExactSizeIterator<Item = &Membership> {
        self.rooms.values()
    }

    /// The user's membership in a room.
    pub fn room(&self, room_nid: RoomNid) -> Option<&Membership> {
        self.rooms.get(&room_nid)
    }

    /// The user's membership in a room, found by room id.
    pub fn room_by_id(&self, room_id: &RoomId) -> Option<&Membership> {
        self.rooms.values().find(|room| room.room_id == room_id)
    }

    /// The account data of a room, or the global account data, by type.
    pub fn account_data(
        &self,
        room_nid: Option<RoomNid>,
    ) -> impl Iterator<Item = (&str, &AccountDataEntry)> {
        let room_nid = room_nid.unwrap_or_default();
        self.account_data
            .range((room_nid, Arc::from(""))..)
            .take_while(move |((of, _), _)| *of == room_nid)
            .map(|((_, event_type), entry)| (&**event_type, entry))
    }

    /// The account data of a room, or the global account data, that changed after the position.
    pub fn account_data_after(
        &self,
        room_nid: Option<RoomNid>,
        after: StreamPosition,
    ) -> impl Iterator<Item = (&str, &AccountDataEntry)> {
        self.account_data(room_nid)
            .filter(move |(_, entry)| entry.position > after)
    }

    /// The rooms whose account data changed after the position, each once.
    pub fn rooms_with_data_after(&self, after: StreamPosition) -> impl Iterator<Item = RoomNid> {
        self.room_data_changes.after(after).copied()
    }

    /// Whether the user ignores the other one.
    ///
    /// Spec: client-server, "Ignoring Users".
    pub fn ignores(&self, other: &UserId) -> bool {
        self.ignored.iter().any(|ignored| ignored == other)
    }

    /// Whether the user is not told of invitations by the other one.
    ///
    /// Spec: client-server, "Invite permission", "Ignoring Users".
    pub fn hides_invites_by(&self, other: &UserId) -> bool {
        self.ignores(other) || self.invite_permission.decide(other) != InviteDecision::Allow
    }

    /// The user's push rules, or the defaults.
    pub fn push_rules(&self) -> &Arc<Ruleset> {
        self.push_rules.get_or_init(|| {
            let content = self.global_account_data(PUSH_RULES).map(|entry| &*entry.content);
            let rules = event::push::rules(content, &self.id).unwrap_or_else(|error| {
                tracing::warn!(user.id = %self.id, %error, "push rules are malformed, the defaults apply");
                event::push::defaults(&self.id)
            });
            Arc::new(rules)
        })
    }

    /// Whether a room is a direct chat.
    ///
    /// Spec: client-server, "Direct Messaging".
    pub fn is_direct(&self, room_id: &RoomId) -> bool {
        let rooms = self.direct_rooms.get_or_init(|| {
            let content = self
                .global_account_data(DIRECT)
                .map(|entry| &*entry.content);
            Arc::new(content.map(direct_rooms).unwrap_or_default())
        });
        rooms.contains(room_id)
    }

    /// Whether a room has one of these tags.
    ///
    /// Spec: client-server, "Room Tagging".
    pub fn has_tag(&self, room_nid: RoomNid, tags: &[String]) -> bool {
        #[derive(serde::Deserialize)]
        struct Content {
            tags: BTreeMap<String, serde_json::Value>,
        }
        let entry = self.account_data.get(&(room_nid, Arc::from("m.tag")));
        let content = entry.and_then(|entry| serde_json::from_str::<Content>(&entry.content).ok());
        content.is_some_and(|content| tags.iter().any(|tag| content.tags.contains_key(tag)))
    }

    /// When push rules or ignored users last changed.
    pub fn notification_settings_changed(&self) -> StreamPosition {
        let position = |event_type| {
            self.global_account_data(event_type)
                .map(|entry| entry.position)
        };
        position(PUSH_RULES)
            .max(position(IGNORED_USERS))
            .unwrap_or_default()
    }

    /// An entry of the global account data.
    fn global_account_data(&self, event_type: &str) -> Option<&AccountDataEntry> {
        self.account_data.get(&(RoomNid(0), Arc::from(event_type)))
    }

    pub(crate) fn insert_account_data(&mut self, position: StreamPosition, data: &AccountData) {
        let room_nid = data.room_nid.unwrap_or_default();
        if room_nid == RoomNid(0) && data.event_type == IGNORED_USERS {
            self.ignored = ignored_users(&data.content);
        }
        if room_nid == RoomNid(0) && data.event_type == PUSH_RULES {
            self.push_rules = OnceLock::new();
        }
        let types = [InvitePermission::DEFAULT_TYPE, InvitePermission::LISTS_TYPE];
        if room_nid == RoomNid(0) && types.contains(&&*data.event_type) {
            Arc::make_mut(&mut self.invite_permission).set(&data.event_type, &data.content);
        }
        if room_nid == RoomNid(0) && data.event_type == DIRECT {
            self.direct_rooms = OnceLock::new();
        }
        if room_nid != RoomNid(0) {
            self.room_data_changes.insert(room_nid, position);
        }
        let entry = AccountDataEntry {
            position,
            content: data.content.as_str().into(),
        };
        self.account_data
            .insert((room_nid, data.event_type.as_str().into()), entry);
    }

    pub(crate) fn insert_room(&mut self, mut room: Membership) {
        let is_joined = |room: &Membership| room.membership == MembershipState::Join;
        if let Some(before) = self.rooms.get(&room.room_nid)
            && is_joined(before)
            && is_joined(&room)
        {
            room.position = before.position;
        }
        self.rooms.insert(room.room_nid, room);
    }

    pub(crate) fn remove_room(&mut self, room_nid: RoomNid) {
        self.rooms.remove(&room_nid);
    }

    pub(crate) fn joined_rooms(&self) -> impl Iterator<Item = RoomNid> {
        self.rooms
            .values()
            .filter(|room| room.membership == MembershipState::Join)
            .map(|room| room.room_nid)
    }

    /// Whether the user is in a room.
    pub(crate) fn is_joined(&self, room_nid: RoomNid) -> bool {
        let room = self.rooms.get(&room_nid);
        room.is_some_and(|room| room.membership == MembershipState::Join)
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        let data: usize = self
            .account_data
            .values()
            .map(|entry| entry.content.len() + 160)
            .sum();
        1024 + RULES_WEIGHT + self.rooms.len() * 512 + data
    }
}

fn direct_rooms(content: &str) -> HashSet<OwnedRoomId> {
    // Clients write it; what is malformed in it does not hide the rest.
    let Ok(content) = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(content) else {
        return HashSet::new();
    };
    let lists = content.values().filter_map(serde_json::Value::as_array);
    let rooms = lists.flatten().filter_map(serde_json::Value::as_str);
    rooms
        .filter_map(|room_id| room_id.try_into().ok())
        .collect()
}

/// The users that the content of [`IGNORED_USERS`] lists.
pub fn ignored_users(content: &str) -> Vec<OwnedUserId> {
    #[derive(serde::Deserialize)]
    struct Content {
        ignored_users: BTreeMap<String, serde_json::Value>,
    }
    let Ok(content) = serde_json::from_str::<Content>(content) else {
        return Vec::new();
    };
    content
        .ignored_users
        .into_keys()
        .filter_map(|user_id| user_id.try_into().ok())
        .collect()
}

/// The notifier of a user and the positions of the last changes, which only grow; stays when the
/// user is evicted and loaded again.
#[derive(Debug, Default)]
pub(crate) struct LastChanged {
    pub(crate) notify: Notify,
    /// The number of subscriptions; the entry is not evicted while there are any.
    pub(crate) subscribers: AtomicUsize,
    pub(crate) used: AtomicU64,
    changed: AtomicI64,
    changed_ephemeral: AtomicI64,
    presence: AtomicI64,
    device_lists: AtomicI64,
    pub(crate) devices: Mutex<HashMap<OwnedDeviceId, DeviceEntry>>,
    pub(crate) unread: Mutex<KnownCounts>,
}

/// What is known of a device's to-device messages and key counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceEntry {
    /// The first and last pending to-device message; unknown before the first query.
    pub(crate) to_device: Option<ToDeviceMark>,
    /// The last message that arrived while the entry was cached.
    pub(crate) last_to_device: StreamPosition,
    /// The last change of the key counts while the entry was cached.
    pub(crate) keys_changed: StreamPosition,
    /// The key counts, and the position before they were read.
    pub(crate) keys: Option<(StreamPosition, Arc<KeyCounts>)>,
}

/// The range of positions of pending to-device messages; empty if `first > last`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToDeviceMark {
    pub(crate) first: StreamPosition,
    pub(crate) last: StreamPosition,
}

impl DeviceEntry {
    /// Records a new to-device message.
    pub(crate) fn record_to_device(&mut self, position: StreamPosition) {
        self.last_to_device = position;
        if let Some(to_device) = &mut self.to_device {
            if to_device.first > to_device.last {
                to_device.first = position;
            }
            to_device.last = position;
        }
    }
}

impl LastChanged {
    pub(crate) fn advance(&self, position: StreamPosition) {
        self.changed.fetch_max(position.get(), Ordering::AcqRel);
    }

    pub(crate) fn advance_ephemeral(&self, position: EphemeralPosition) {
        self.changed_ephemeral
            .fetch_max(position.get(), Ordering::AcqRel);
    }

    pub(crate) fn advance_presence(&self, position: EphemeralPosition) {
        self.presence.fetch_max(position.get(), Ordering::AcqRel);
    }

    pub(crate) fn advance_device_lists(&self, position: StreamPosition) {
        self.device_lists
            .fetch_max(position.get(), Ordering::AcqRel);
    }

    pub(crate) fn changed(&self) -> StreamPosition {
        StreamPosition(self.changed.load(Ordering::Acquire))
    }

    pub(crate) fn changed_ephemeral(&self) -> EphemeralPosition {
        EphemeralPosition(self.changed_ephemeral.load(Ordering::Acquire))
    }

    pub(crate) fn presence(&self) -> EphemeralPosition {
        EphemeralPosition(self.presence.load(Ordering::Acquire))
    }

    pub(crate) fn device_lists(&self) -> StreamPosition {
        StreamPosition(self.device_lists.load(Ordering::Acquire))
    }
}
