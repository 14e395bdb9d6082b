//! A user of the recent past: rooms, private data, and what changed last.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use ruma::{
    OwnedDeviceId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
    push::Ruleset,
};
use storage::{memberships::Membership, one_time_keys::KeyCounts, stream::AccountData};
use tokio::sync::Notify;
use types::{EphemeralPosition, RoomNid, StreamPosition};

use crate::unread::Tally;

const IGNORED_USERS: &str = "m.ignored_user_list";
const PUSH_RULES: &str = "m.push_rules";

/// About how many bytes parsed push rules take.
const RULES_WEIGHT: usize = 12 * 1024;

/// A user as of a position; a clone is made only when a reader holds the old one.
#[derive(Clone, Debug)]
pub struct User {
    pub(crate) id: OwnedUserId,
    pub(crate) rooms: HashMap<RoomNid, Membership>,
    /// By room (0 for the account itself) and type.
    account_data: BTreeMap<(RoomNid, Arc<str>), Datum>,
    ignored: Vec<OwnedUserId>,
    push_rules: OnceLock<Arc<Ruleset>>,
    /// The user was read from the database as it stood here.
    pub(crate) loaded_at: StreamPosition,
}

/// One kind of a user's private data.
#[derive(Clone, Debug)]
pub struct Datum {
    /// When it was last set.
    pub position: StreamPosition,
    /// The content, a JSON object.
    pub content: Arc<str>,
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
            ignored: Vec::new(),
            push_rules: OnceLock::new(),
            loaded_at,
        };
        for (position, data) in account_data {
            user.put_account_data(position, &data);
        }
        user
    }

    /// The user's id.
    pub fn user_id(&self) -> &UserId {
        &self.id
    }

    /// All rooms that the user has to do with; those that were forgotten are marked.
    pub fn rooms(&self) -> impl Iterator<Item = &Membership> {
        self.rooms.values()
    }

    /// The user's relation to a room.
    pub fn room(&self, room_nid: RoomNid) -> Option<&Membership> {
        self.rooms.get(&room_nid)
    }

    /// The user's relation to a room, found by the room's id.
    pub fn room_by_id(&self, room_id: &RoomId) -> Option<&Membership> {
        self.rooms.values().find(|room| room.room_id == room_id)
    }

    /// The private data of a room, or of the account itself, by type.
    pub fn account_data(&self, room_nid: Option<RoomNid>) -> impl Iterator<Item = (&str, &Datum)> {
        let room_nid = room_nid.unwrap_or_default();
        self.account_data
            .range((room_nid, Arc::from(""))..)
            .take_while(move |((of, _), _)| *of == room_nid)
            .map(|((_, kind), datum)| (&**kind, datum))
    }

    /// The rooms whose private data changed after the position, each once.
    pub fn rooms_with_data_after(&self, after: StreamPosition) -> impl Iterator<Item = RoomNid> {
        let changed = self
            .account_data
            .iter()
            .filter(move |(_, datum)| datum.position > after);
        let rooms: std::collections::BTreeSet<RoomNid> = changed
            .map(|((room_nid, _), _)| *room_nid)
            .filter(|room_nid| *room_nid != RoomNid(0))
            .collect();
        rooms.into_iter()
    }

    /// Whether the user does not want to see anything of the other one.
    ///
    /// Spec: client-server, "Ignoring Users".
    pub fn ignores(&self, other: &UserId) -> bool {
        self.ignored.iter().any(|ignored| ignored == other)
    }

    /// What the user wants to be notified of.
    pub fn push_rules(&self) -> &Arc<Ruleset> {
        self.push_rules.get_or_init(|| {
            let content = self.datum(PUSH_RULES).map(|datum| &*datum.content);
            let rules = event::push::rules(content, &self.id).unwrap_or_else(|error| {
                tracing::warn!(user.id = %self.id, %error, "push rules are malformed, the defaults apply");
                event::push::defaults(&self.id)
            });
            Arc::new(rules)
        })
    }

    /// When the user last changed what to be notified of.
    pub fn wishes_changed(&self) -> StreamPosition {
        let position = |kind| self.datum(kind).map(|datum| datum.position);
        position(PUSH_RULES)
            .max(position(IGNORED_USERS))
            .unwrap_or_default()
    }

    /// Data of the account itself.
    fn datum(&self, kind: &str) -> Option<&Datum> {
        self.account_data.get(&(RoomNid(0), Arc::from(kind)))
    }

    pub(crate) fn put_account_data(&mut self, position: StreamPosition, data: &AccountData) {
        let room_nid = data.room_nid.unwrap_or_default();
        if room_nid == RoomNid(0) && data.event_type == IGNORED_USERS {
            self.ignored = ignored_users(&data.content);
        }
        if room_nid == RoomNid(0) && data.event_type == PUSH_RULES {
            self.push_rules = OnceLock::new();
        }
        let datum = Datum {
            position,
            content: data.content.as_str().into(),
        };
        self.account_data
            .insert((room_nid, data.event_type.as_str().into()), datum);
    }

    pub(crate) fn put_room(&mut self, mut room: Membership) {
        let is_joined = |room: &Membership| room.membership == MembershipState::Join;
        if let Some(before) = self.rooms.get(&room.room_nid)
            && is_joined(before)
            && is_joined(&room)
        {
            room.position = before.position;
        }
        self.rooms.insert(room.room_nid, room);
    }

    pub(crate) fn joined_rooms(&self) -> impl Iterator<Item = RoomNid> {
        self.rooms
            .values()
            .filter(|room| room.membership == MembershipState::Join)
            .map(|room| room.room_nid)
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        let data: usize = self
            .account_data
            .values()
            .map(|datum| datum.content.len() + 160)
            .sum();
        1024 + RULES_WEIGHT + self.rooms.len() * 512 + data
    }
}

fn ignored_users(content: &str) -> Vec<OwnedUserId> {
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

/// What does not move with the user's entry: the alarm, and positions that only grow.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) wake: Notify,
    /// Requests that look at the user now; the entry stays in memory meanwhile.
    pub(crate) watchers: AtomicUsize,
    pub(crate) used: AtomicU64,
    changed: AtomicI64,
    changed_ephemeral: AtomicI64,
    device_lists: AtomicI64,
    pub(crate) devices: Mutex<HashMap<OwnedDeviceId, Device>>,
    pub(crate) unread: Mutex<HashMap<RoomNid, Arc<Tally>>>,
}

/// What is known of a device's mail and keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    /// The first and the last message that may wait; unknown before the first look.
    pub(crate) mail: Option<Mail>,
    /// The last message that arrived while this was in memory.
    pub(crate) last_arrival: StreamPosition,
    /// When the counts last changed, as far as it happened while this was in memory.
    pub(crate) keys_changed: StreamPosition,
    /// The counts, and where the stream stood before they were read.
    pub(crate) keys: Option<(StreamPosition, Arc<KeyCounts>)>,
}

/// Between which positions messages wait for a device; empty when `first > last`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mail {
    pub(crate) first: StreamPosition,
    pub(crate) last: StreamPosition,
}

impl Device {
    /// A message arrived.
    pub(crate) fn arrive(&mut self, position: StreamPosition) {
        self.last_arrival = position;
        if let Some(mail) = &mut self.mail {
            if mail.first > mail.last {
                mail.first = position;
            }
            mail.last = position;
        }
    }
}

impl Marks {
    pub(crate) fn change(&self, position: StreamPosition) {
        self.changed.fetch_max(position.get(), Ordering::AcqRel);
    }

    pub(crate) fn change_ephemeral(&self, position: EphemeralPosition) {
        self.changed_ephemeral
            .fetch_max(position.get(), Ordering::AcqRel);
    }

    pub(crate) fn change_device_lists(&self, position: StreamPosition) {
        self.device_lists
            .fetch_max(position.get(), Ordering::AcqRel);
    }

    pub(crate) fn changed(&self) -> StreamPosition {
        StreamPosition(self.changed.load(Ordering::Acquire))
    }

    pub(crate) fn changed_ephemeral(&self) -> EphemeralPosition {
        EphemeralPosition(self.changed_ephemeral.load(Ordering::Acquire))
    }

    pub(crate) fn device_lists(&self) -> StreamPosition {
        StreamPosition(self.device_lists.load(Ordering::Acquire))
    }
}
