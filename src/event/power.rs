//! Power levels: who may do what by rank.
//!
//! Spec: client-server, "m.room.power_levels"; rooms v12, "Room creators".

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashSet},
    fmt,
};

use ruma::{
    OwnedUserId, UserId,
    events::TimelineEventType,
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField},
};

use crate::{Pdu, RoomVersion, State};

const CREATOR_WITHOUT_POWER_LEVELS: i64 = 100;
const NOTIFY_ROOM: i64 = 50;

/// A user's power level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PowerLevel {
    /// A number, compared with the level that an action requires.
    Value(i64),
    /// A creator of a room of version 12 or later: above every number.
    Infinite,
}

/// The power levels of a room, with the defaults filled in.
///
/// Fields that are malformed count as absent; the authorisation rules refuse them elsewhere.
#[derive(Clone, Debug)]
pub struct PowerLevels {
    privileged: HashSet<OwnedUserId>,
    users: BTreeMap<OwnedUserId, i64>,
    users_default: i64,
    events: BTreeMap<String, i64>,
    events_default: i64,
    state_default: i64,
    ban: i64,
    kick: i64,
    invite: i64,
    redact: i64,
    notifications: BTreeMap<String, i64>,
}

impl PowerLevels {
    /// The power levels in a state of the room.
    pub fn of(state: &State, version: &RoomVersion) -> Self {
        let create = state.get("m.room.create", "").map(AsRef::as_ref);
        let levels = state.get("m.room.power_levels", "").map(AsRef::as_ref);
        Self::from_events(create, levels, version)
    }

    /// The power levels that a create event and a power levels event give.
    pub fn from_events(create: Option<&Pdu>, levels: Option<&Pdu>, version: &RoomVersion) -> Self {
        let rules = version.authorization();
        let creators = create
            .and_then(|create| RoomCreateEvent::new(create).creators(rules).ok())
            .unwrap_or_default();
        let event = levels.map(RoomPowerLevelsEvent::new);
        let number = |field: RoomPowerLevelsIntField| {
            let value = event
                .as_ref()
                .and_then(|event| event.get_as_int(field, rules).ok()?);
            value.unwrap_or_else(|| field.default_value()).into()
        };
        let users = match &event {
            Some(event) => event
                .users(rules)
                .ok()
                .flatten()
                .cloned()
                .unwrap_or_default(),
            None => BTreeMap::new(),
        };
        let mut users: BTreeMap<_, i64> = users
            .into_iter()
            .map(|(user, level)| (user, level.into()))
            .collect();
        if event.is_none() {
            let rank = |user: &OwnedUserId| (user.clone(), CREATOR_WITHOUT_POWER_LEVELS);
            users.extend(creators.iter().map(rank));
        }
        let events = event.as_ref().and_then(|event| event.events(rules).ok()?);
        let notifications = event
            .as_ref()
            .and_then(|event| event.notifications(rules).ok()?);
        Self {
            users,
            users_default: number(RoomPowerLevelsIntField::UsersDefault),
            events: text_keys(events),
            events_default: number(RoomPowerLevelsIntField::EventsDefault),
            state_default: number(RoomPowerLevelsIntField::StateDefault),
            ban: number(RoomPowerLevelsIntField::Ban),
            kick: number(RoomPowerLevelsIntField::Kick),
            invite: number(RoomPowerLevelsIntField::Invite),
            redact: number(RoomPowerLevelsIntField::Redact),
            notifications: text_keys(notifications),
            privileged: if version.privileges_creators() {
                creators
            } else {
                HashSet::new()
            },
        }
    }

    /// The power level of a user, member or not.
    pub fn user(&self, user_id: &UserId) -> PowerLevel {
        if self.privileged.contains(user_id) {
            return PowerLevel::Infinite;
        }
        PowerLevel::Value(
            self.users
                .get(user_id)
                .copied()
                .unwrap_or(self.users_default),
        )
    }

    /// The users with an explicit power level.
    pub fn users(&self) -> impl Iterator<Item = (&UserId, PowerLevel)> {
        let creators = self
            .privileged
            .iter()
            .map(|user| (&**user, PowerLevel::Infinite));
        let named = self
            .users
            .iter()
            .map(|(user, level)| (&**user, PowerLevel::Value(*level)));
        creators.chain(named.filter(|(user, _)| !self.privileged.contains(*user)))
    }

    /// The power level of all other users.
    pub fn users_default(&self) -> i64 {
        self.users_default
    }

    /// The rank needed to ban.
    pub fn ban(&self) -> i64 {
        self.ban
    }

    /// The rank needed to kick.
    pub fn kick(&self) -> i64 {
        self.kick
    }

    /// The rank needed to invite.
    pub fn invite(&self) -> i64 {
        self.invite
    }

    /// The rank needed to redact what others sent.
    pub fn redact(&self) -> i64 {
        self.redact
    }

    /// The rank needed to send messages of a type that is not listed.
    pub fn events_default(&self) -> i64 {
        self.events_default
    }

    /// The rank needed to send state of a type that is not listed.
    pub fn state_default(&self) -> i64 {
        self.state_default
    }

    /// The rank needed to send an event of a type, as state or as a message.
    pub fn to_send(&self, event_type: &str, is_state: bool) -> i64 {
        let default = if is_state {
            self.state_default
        } else {
            self.events_default
        };
        self.events.get(event_type).copied().unwrap_or(default)
    }

    /// Whether a user's rank suffices to send an event of a type.
    pub fn can_send(&self, user_id: &UserId, event_type: &str, is_state: bool) -> bool {
        self.user(user_id) >= self.to_send(event_type, is_state)
    }

    /// Whether a user's rank suffices to redact what others sent.
    pub fn can_redact_others(&self, user_id: &UserId) -> bool {
        self.user(user_id) >= self.redact
    }

    /// The rank needed to notify everybody with `@room`.
    pub fn notifications_room(&self) -> i64 {
        self.notifications
            .get("room")
            .copied()
            .unwrap_or(NOTIFY_ROOM)
    }
}

impl PartialEq<i64> for PowerLevel {
    fn eq(&self, other: &i64) -> bool {
        *self == Self::Value(*other)
    }
}

impl PartialOrd<i64> for PowerLevel {
    fn partial_cmp(&self, other: &i64) -> Option<Ordering> {
        Some(self.cmp(&Self::Value(*other)))
    }
}

impl fmt::Display for PowerLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(number) => number.fmt(f),
            Self::Infinite => f.write_str("infinite"),
        }
    }
}

/// Whose keys can be compared as text.
trait Text {
    fn text(self) -> String;
}

impl Text for String {
    fn text(self) -> String {
        self
    }
}

impl Text for TimelineEventType {
    fn text(self) -> String {
        self.to_string()
    }
}

fn text_keys<K: Text, V: Into<i64>>(map: Option<BTreeMap<K, V>>) -> BTreeMap<String, i64> {
    map.into_iter()
        .flatten()
        .map(|(key, level)| (key.text(), level.into()))
        .collect()
}

#[cfg(test)]
mod tests;
