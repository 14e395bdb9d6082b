//! The state of a room in memory: all of it as numbers, and the few events that everything asks for.
//!
//! It is loaded once and then advanced by what is committed, in this process or another. Who appends
//! to a room does it on a clone, which shares its structure.

use std::{
    ops::Bound,
    sync::{Arc, OnceLock},
};

use equivalent::{Comparable, Equivalent};
use event::{Pdu, State, StateKey, layers::StateSource};
use imbl::OrdMap;
use ruma::{
    OwnedEventId, OwnedRoomId, RoomId, RoomVersionId, ServerName, UserId,
    events::room::member::MembershipState, push::PushConditionPowerLevelsCtx,
};
use serde::Deserialize;
use storage::{
    partial_states::StatedServers,
    room_states::StoredRoomState,
    rooms::{HeadChange, HeadVersion, RoomHead},
    snapshots::{Layers, NewSnapshot},
    stream::{StateChange, StateEvent},
};
use types::{EventNid, RoomNid, SnapshotNid, StateKeyNid, StreamPosition};

use crate::members::{Heroes, Member, MemberCounts, MemberMap};

/// The types whose events are in memory with every room: rules, summaries and invitations need them.
pub(crate) const CORE_TYPES: [&str; 14] = [
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.server_acl",
    "m.room.tombstone",
    "m.room.third_party_invite",
    "m.room.encryption",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.policy",
];

const MEMBER: &str = "m.room.member";

/// The state of a room and where its graph ends; a clone shares its structure.
#[derive(Clone, Debug)]
pub struct RoomState {
    room_nid: RoomNid,
    room_id: OwnedRoomId,
    /// None of a room whose graph is not known here.
    version: Option<RoomVersionId>,
    /// Counts the write sets; compared and swapped in the database.
    revision: i64,
    extremities: Vec<(EventNid, OwnedEventId)>,
    depth: u64,
    snapshot_nid: Option<SnapshotNid>,
    /// The layers in which the state is stored; none until an event of state is appended, or after
    /// another process has done it.
    layers: Option<Layers>,
    /// The whole state as numbers.
    entries: Entries,
    /// The keys other than those of members.
    keys: OrdMap<KeyText, StateKeyNid>,
    members: MemberMap,
    /// The events of [`CORE_TYPES`].
    core: State,
    /// The size of the texts of `keys` and of the events in `core`.
    bytes: usize,
    /// The servers that are said to be in the room while parts of the state are not known.
    stated_servers: Option<StatedServers>,
    /// Since when the whole state is known, if it once was not.
    completed_at: Option<StreamPosition>,
    heroes: OnceLock<Arc<Heroes>>,
    push_levels: OnceLock<Option<Arc<PushConditionPowerLevelsCtx>>>,
    /// The position of the database snapshot it was loaded from.
    pub(crate) loaded_at: StreamPosition,
}

/// A state as numbers; a clone shares its structure.
#[derive(Clone, Debug, Default)]
struct Entries(OrdMap<StateKeyNid, EventNid>);

impl StateSource for Entries {
    fn event(&self, key: StateKeyNid) -> Option<EventNid> {
        self.0.get(&key).copied()
    }

    fn all(&self) -> Vec<(StateKeyNid, EventNid)> {
        self.0.iter().map(|(key, event)| (*key, *event)).collect()
    }
}

/// A type and a state key, ordered like [`StateKey`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct KeyText {
    event_type: Arc<str>,
    key: Arc<str>,
}

impl KeyText {
    fn as_key(&self) -> StateKey<'_> {
        StateKey {
            event_type: &self.event_type,
            key: &self.key,
        }
    }
}

impl Equivalent<KeyText> for StateKey<'_> {
    fn equivalent(&self, key: &KeyText) -> bool {
        *self == key.as_key()
    }
}

impl Comparable<KeyText> for StateKey<'_> {
    fn compare(&self, key: &KeyText) -> std::cmp::Ordering {
        self.cmp(&key.as_key())
    }
}

impl RoomState {
    /// A room without events.
    pub fn new(room_nid: RoomNid, room_id: OwnedRoomId, version: Option<RoomVersionId>) -> Self {
        Self {
            room_nid,
            room_id,
            version,
            revision: 0,
            extremities: Vec::new(),
            depth: 0,
            snapshot_nid: None,
            layers: None,
            entries: Entries::default(),
            keys: OrdMap::new(),
            members: MemberMap::default(),
            core: State::new(),
            bytes: 0,
            stated_servers: None,
            completed_at: None,
            heroes: OnceLock::new(),
            push_levels: OnceLock::new(),
            loaded_at: StreamPosition::START,
        }
    }

    /// What the database holds at `loaded_at`. Events that are none of [`CORE_TYPES`] are left out.
    pub fn of_stored(stored: StoredRoomState, loaded_at: StreamPosition) -> Self {
        let mut state = Self::new(stored.room_nid, stored.room_id, Some(stored.version));
        let extremities = stored.head.version.extremities.iter().copied();
        state.extremities = extremities.zip(stored.extremity_ids).collect();
        state.revision = stored.head.version.revision;
        state.depth = u64::try_from(stored.head.depth).unwrap_or_default();
        state.snapshot_nid = Some(stored.head.snapshot_nid);
        state.loaded_at = loaded_at;
        state.stated_servers = stored.stated_servers;
        state.completed_at = stored.completed_at;
        for entry in stored.entries {
            state.entries.0.insert(entry.key, entry.event_nid);
            if entry.event_type == MEMBER {
                let membership = entry.membership.map(MembershipState::from);
                let member = Member::new(entry.key, entry.event_nid, membership);
                state.members.insert(&entry.state_key, member);
                continue;
            }
            state.insert_key(entry.key, &entry.event_type, &entry.state_key);
            if let Some(pdu) = entry.pdu.filter(|pdu| is_core(pdu)) {
                state.insert_core(pdu);
            }
        }
        state
    }

    /// The room's number.
    pub fn room_nid(&self) -> RoomNid {
        self.room_nid
    }

    /// The room's id.
    pub fn room_id(&self) -> &OwnedRoomId {
        &self.room_id
    }

    /// Gives the room its id, which since room version 12 is only known with the create event.
    pub fn set_room_id(&mut self, room_id: &RoomId) {
        room_id.clone_into(&mut self.room_id);
    }

    /// The room's version; none of a room whose graph is not known here.
    pub fn version(&self) -> Option<&RoomVersionId> {
        self.version.as_ref()
    }

    /// Counts the write sets.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// What the head is compared by.
    pub fn head_version(&self) -> HeadVersion {
        HeadVersion {
            revision: self.revision,
            extremities: self.extremities.iter().map(|(nid, _)| *nid).collect(),
        }
    }

    /// Where the graph ends.
    pub fn head(&self) -> RoomHead {
        RoomHead {
            version: self.head_version(),
            depth: i64::try_from(self.depth).unwrap_or(i64::MAX),
            snapshot_nid: self.snapshot_nid.unwrap_or_default(),
        }
    }

    /// The forward extremities.
    pub fn extremities(&self) -> &[(EventNid, OwnedEventId)] {
        &self.extremities
    }

    /// The depth of the deepest event.
    pub fn depth(&self) -> u64 {
        self.depth
    }

    /// The snapshot of the state; none before the first event.
    pub fn snapshot_nid(&self) -> Option<SnapshotNid> {
        self.snapshot_nid
    }

    /// The number of the event of a type and state key.
    pub fn event_nid(&self, event_type: &str, key: &str) -> Option<EventNid> {
        if event_type == MEMBER {
            return Some(self.members.get(key)?.event_nid);
        }
        let nid = self.keys.get(&StateKey { event_type, key })?;
        self.entries.event(*nid)
    }

    /// The state keys of a type, other than that of members, and the numbers of their events.
    pub fn of_type<'a>(&'a self, event_type: &'a str) -> impl Iterator<Item = (&'a str, EventNid)> {
        let start = Bound::Included(StateKey {
            event_type,
            key: "",
        });
        let keys = self.keys.range((start, Bound::Unbounded));
        keys.take_while(move |(text, _)| &*text.event_type == event_type)
            .filter_map(|(text, key)| Some((&*text.key, self.entries.event(*key)?)))
    }

    /// The whole state as numbers.
    pub fn entries(&self) -> &OrdMap<StateKeyNid, EventNid> {
        &self.entries.0
    }

    /// The numbers of the events that are neither in [`core`](Self::core) nor of members.
    pub fn other_event_nids(&self) -> impl Iterator<Item = EventNid> {
        self.others().map(|(_, nid)| nid)
    }

    /// The types and state keys that are neither in [`core`](Self::core) nor of members, and the numbers
    /// of their events.
    pub fn others(&self) -> impl Iterator<Item = (StateKey<'_>, EventNid)> {
        let others = self
            .keys
            .iter()
            .filter(|(text, _)| !is_core_type(&text.event_type));
        others.filter_map(|(text, key)| Some((text.as_key(), self.entries.event(*key)?)))
    }

    /// The events of the types that rules and summaries need.
    pub fn core(&self) -> &State {
        &self.core
    }

    /// The members.
    pub fn members(&self) -> &MemberMap {
        &self.members
    }

    /// The membership of a user; `Leave` for one who never was in the room.
    pub fn membership(&self, user_id: &UserId) -> MembershipState {
        let member = self.members.get(user_id.as_str());
        member.map_or(MembershipState::Leave, Member::membership)
    }

    /// Whether parts of the state are not known: the room was joined without most of its members.
    pub fn is_partial(&self) -> bool {
        self.stated_servers.is_some()
    }

    /// The servers that are said to be in the room while parts of the state are not known.
    pub fn stated_servers(&self) -> impl Iterator<Item = &ServerName> {
        let servers = self
            .stated_servers
            .iter()
            .flat_map(|servers| servers.iter());
        servers.map(AsRef::as_ref)
    }

    /// Since when the whole state is known, if it once was not.
    pub fn completed_at(&self) -> Option<StreamPosition> {
        self.completed_at
    }

    /// Takes over that parts of the state are not known, or all of it is.
    pub(crate) fn set_stated_servers(
        &mut self,
        servers: Option<&StatedServers>,
        position: StreamPosition,
    ) {
        self.stated_servers = servers.cloned();
        self.completed_at = servers.is_none().then_some(position);
    }

    /// The member counts.
    pub fn member_counts(&self) -> MemberCounts {
        self.members.counts()
    }

    /// Whether the room has a name or a canonical alias; otherwise its heroes stand for it.
    pub fn is_named(&self) -> bool {
        #[derive(Deserialize)]
        struct Content {
            name: Option<String>,
            alias: Option<String>,
        }
        let is_set = |event_type: &str| {
            let content = self.core().get(event_type, "");
            content
                .and_then(|pdu| pdu.content_as::<Content>().ok())
                .and_then(|content| content.name.or(content.alias))
                .is_some_and(|name| !name.is_empty())
        };
        is_set("m.room.name") || is_set("m.room.canonical_alias")
    }

    /// The heroes, from whom a room without a name takes its name.
    pub fn heroes(&self) -> &Heroes {
        self.heroes
            .get_or_init(|| Arc::new(Heroes::of(&self.members)))
    }

    /// The power levels that push conditions need.
    pub fn push_levels(&self) -> Option<&PushConditionPowerLevelsCtx> {
        let levels = || event::push::power_levels(&self.core).map(Arc::new);
        self.push_levels.get_or_init(levels).as_deref()
    }

    /// Applies a change of the state.
    pub(crate) fn apply(&mut self, changes: &[StateChange]) {
        for change in changes {
            match (&change.to, &change.from) {
                (Some(event), _) => {
                    self.insert(change.key, event);
                }
                (None, Some(gone)) => self.remove(change.key, &gone.pdu),
                (None, None) => {}
            }
        }
    }

    /// Takes over the head of the room after its changes were applied; `false` if it does not follow
    /// from the present one: then the state must be loaded anew.
    #[must_use]
    pub(crate) fn advance(&mut self, change: &HeadChange) -> bool {
        let known = self.extremities.iter().chain(&change.event_ids);
        let known: Vec<_> = known.cloned().collect();
        let wanted = &change.head.version.extremities;
        let extremities = wanted.iter().filter_map(|nid| {
            let found = known.iter().find(|(known, _)| known == nid);
            found.cloned()
        });
        let extremities: Vec<_> = extremities.collect();
        if extremities.len() != wanted.len() {
            return false;
        }
        self.extremities = extremities;
        self.revision = change.head.version.revision;
        self.depth = u64::try_from(change.head.depth).unwrap_or_default();
        if change.layers.is_some() || self.snapshot_nid != Some(change.head.snapshot_nid) {
            self.layers.clone_from(&change.layers);
        }
        self.snapshot_nid = Some(change.head.snapshot_nid);
        true
    }

    /// Replaces an event that was redacted by what is left of it, if it is held here.
    pub fn redact(&mut self, redacted: &Arc<Pdu>) {
        let state_key = redacted.state_key().unwrap_or_default();
        let current = self.core.get(redacted.event_type(), state_key);
        if current.is_some_and(|current| current.event_id() == redacted.event_id()) {
            self.insert_core(redacted.clone());
            self.forget_derived(redacted.event_type());
        }
    }

    /// Whether the layers are known that an event of state is laid over.
    pub fn has_layers(&self) -> bool {
        self.layers.is_some() || self.snapshot_nid.is_none()
    }

    /// The layers of the state, if they are known.
    pub fn layers(&self) -> Option<&Layers> {
        self.layers.as_ref()
    }

    /// Makes the layers of the present snapshot known.
    pub fn set_layers(&mut self, layers: Layers) {
        self.layers = Some(layers);
    }

    /// Appends an event to the graph: it follows the first `parents` forward extremities.
    pub fn append(&mut self, nid: EventNid, pdu: &Pdu, parents: usize) {
        self.depth = pdu.depth();
        // Extremities that the event does not name stay; a later event names them.
        self.extremities
            .drain(..parents.min(self.extremities.len()));
        self.extremities.insert(0, (nid, pdu.event_id().to_owned()));
    }

    /// Puts an appended event into the state, and plans the snapshot of it. The layers must be
    /// known (see [`has_layers`](Self::has_layers)).
    pub fn append_state(
        &mut self,
        snapshot_nid: SnapshotNid,
        key: StateKeyNid,
        event: &StateEvent,
    ) -> NewSnapshot {
        let before = self.insert(key, event);
        let mut layers = self.layers.take().unwrap_or_default();
        if let Some(before) = before {
            layers.digest.remove(key, before);
        }
        layers.digest.insert(key, event.nid);
        let layer = layers.chain.push(snapshot_nid, [key], &self.entries);
        let digest = layers.digest;
        self.layers = Some(layers);
        self.snapshot_nid = Some(snapshot_nid);
        NewSnapshot {
            nid: snapshot_nid,
            parent: layer.parent,
            depth: i16::try_from(layer.depth).unwrap_or(i16::MAX),
            entries: layer.entries,
            digest,
        }
    }

    /// Counts one more write set.
    pub fn advance_revision(&mut self) {
        self.revision += 1;
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        const ENTRY: usize = 2 * size_of::<(StateKeyNid, EventNid)>();
        // Two texts are allocated, each with two counters.
        const KEY: usize = 2 * size_of::<(KeyText, StateKeyNid)>() + 48;
        let layers = self
            .layers
            .as_ref()
            .map_or(0, |layers| layers.chain.weight());
        1024 + self.entries.0.len() * ENTRY
            + self.keys.len() * KEY
            + self.members.weight()
            + self.bytes
            + layers
    }

    fn insert(&mut self, key: StateKeyNid, event: &StateEvent) -> Option<EventNid> {
        let (event_type, state_key) = (event.pdu.event_type(), event.pdu.state_key()?);
        if event_type == MEMBER {
            let member = Member::new(key, event.nid, event.pdu.membership());
            self.members.insert(state_key, member);
        } else {
            self.insert_key(key, event_type, state_key);
            if is_core(&event.pdu) {
                self.insert_core(event.pdu.clone());
            }
        }
        self.forget_derived(event_type);
        self.entries.0.insert(key, event.nid)
    }

    fn remove(&mut self, key: StateKeyNid, gone: &Pdu) {
        let event_type = gone.event_type();
        let state_key = gone.state_key().unwrap_or_default();
        self.entries.0.remove(&key);
        if event_type == MEMBER {
            self.members.remove(state_key);
        } else {
            let key = StateKey {
                event_type,
                key: state_key,
            };
            if self.keys.remove(&key).is_some() {
                self.bytes -= event_type.len() + state_key.len();
            }
            if let Some(gone) = self.core.remove(event_type, state_key) {
                self.bytes -= weight(&gone);
            }
        }
        self.forget_derived(event_type);
    }

    fn insert_key(&mut self, nid: StateKeyNid, event_type: &str, key: &str) {
        if self.keys.contains_key(&StateKey { event_type, key }) {
            return;
        }
        self.bytes += event_type.len() + key.len();
        let text = KeyText {
            event_type: event_type.into(),
            key: key.into(),
        };
        self.keys.insert(text, nid);
    }

    fn insert_core(&mut self, pdu: Arc<Pdu>) {
        self.bytes += weight(&pdu);
        if let Some(old) = self.core.insert(pdu) {
            self.bytes -= weight(&old);
        }
    }

    /// Forgets what was derived from events of a type.
    fn forget_derived(&mut self, event_type: &str) {
        match event_type {
            MEMBER => self.heroes = OnceLock::new(),
            "m.room.power_levels" | "m.room.create" => self.push_levels = OnceLock::new(),
            _ => {}
        }
    }
}

/// Whether a room in memory holds the event.
pub fn is_core(pdu: &Pdu) -> bool {
    pdu.is_state() && is_core_type(pdu.event_type())
}

/// Whether a room in memory holds all state events of a type.
pub fn is_core_type(event_type: &str) -> bool {
    CORE_TYPES.contains(&event_type)
}

fn weight(pdu: &Pdu) -> usize {
    pdu.weight() + 160
}

#[cfg(test)]
mod tests;
