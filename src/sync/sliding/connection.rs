//! What a client has been sent on a connection.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use types::{RoomNid, StreamPosition};

use super::request::RoomConfig;

/// The most rooms that a connection tells apart. Rooms beyond that begin anew.
const MAX_ROOMS: usize = 20_000;
/// The configurations beyond which those that no room has are forgotten.
const MAX_CONFIGS: usize = 64;
/// The most types and state keys that a client is known to be told of in a room.
const MAX_REQUIRED_STATE: usize = 1_000;

/// What a client has been sent, by room; it never changes, but is followed by another version.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct Connection {
    configs: Vec<RoomConfig>,
    rooms: HashMap<RoomNid, SentRoom>,
}

/// What a client has been sent of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentRoom {
    /// All up to here; if none, up to the position of the connection. Where something was left out of a
    /// response, it is where it begins.
    pub(super) until: Option<StreamPosition>,
    config: usize,
    /// Whether it was said to be a direct chat.
    pub(super) is_direct: bool,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Stored {
    configs: Vec<RoomConfig>,
    rooms: Vec<(RoomNid, Option<StreamPosition>, usize, bool)>,
}

impl From<Stored> for Connection {
    fn from(stored: Stored) -> Self {
        let rooms = stored.rooms.into_iter();
        let rooms = rooms.map(|(room_nid, until, config, is_direct)| {
            let room = SentRoom {
                until,
                config,
                is_direct,
            };
            (room_nid, room)
        });
        Self {
            configs: stored.configs,
            rooms: rooms.collect(),
        }
    }
}

impl From<Connection> for Stored {
    fn from(connection: Connection) -> Self {
        let rooms = connection.rooms.into_iter();
        Self {
            configs: connection.configs,
            rooms: rooms
                .map(|(room_nid, room)| (room_nid, room.until, room.config, room.is_direct))
                .collect(),
        }
    }
}

impl Connection {
    /// What has been sent of a room; none if nothing.
    pub(super) fn room(&self, room_nid: RoomNid) -> Option<&SentRoom> {
        self.rooms.get(&room_nid)
    }

    /// With which configuration a room has been sent.
    pub(super) fn config(&self, room: &SentRoom) -> Option<&RoomConfig> {
        self.configs.get(room.config)
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        let configs = self
            .configs
            .iter()
            .map(|config| config.required_state.len());
        512 + self.rooms.len() * 64 + configs.map(|entries| 256 + entries * 128).sum::<usize>()
    }
}

/// The next version of a connection.
#[derive(Debug)]
pub(super) struct ConnectionUpdate<'a> {
    base: &'a Arc<Connection>,
    changed: Option<Connection>,
}

impl<'a> ConnectionUpdate<'a> {
    pub(super) fn new(base: &'a Arc<Connection>) -> Self {
        Self {
            base,
            changed: None,
        }
    }

    /// The next version, if it differs.
    pub(super) fn into_changed(self) -> Option<Connection> {
        self.changed
    }

    fn current(&self) -> &Connection {
        self.changed.as_ref().unwrap_or(self.base)
    }

    fn change(&mut self) -> &mut Connection {
        self.changed
            .get_or_insert_with(|| Connection::clone(self.base))
    }

    /// Records that all of a room is sent up to the position of the response.
    pub(super) fn send(&mut self, room_nid: RoomNid, config: &RoomConfig, is_direct: bool) {
        let current = self.current();
        let index = current.configs.iter().position(|known| known == config);
        if let (Some(sent), Some(config)) = (current.room(room_nid), index) {
            let same = SentRoom {
                until: None,
                config,
                is_direct,
            };
            if *sent == same {
                return;
            }
        }
        let connection = self.change();
        let config = index.unwrap_or_else(|| {
            if connection.configs.len() >= MAX_CONFIGS {
                connection.forget_unused_configs();
            }
            connection.configs.push(config.clone());
            connection.configs.len() - 1
        });
        // A client that is told of more rooms than this gets some of them from the beginning again.
        if connection.rooms.len() >= MAX_ROOMS
            && !connection.rooms.contains_key(&room_nid)
            && let Some(other) = connection.rooms.keys().next().copied()
        {
            connection.rooms.remove(&other);
        }
        let sent = SentRoom {
            until: None,
            config,
            is_direct,
        };
        connection.rooms.insert(room_nid, sent);
    }

    /// Records that changes of a room after a position are left out of the response.
    pub(super) fn leave_out(&mut self, room_nid: RoomNid, after: StreamPosition) {
        let is_sent = |room: &SentRoom| room.until.is_none();
        if self.current().room(room_nid).is_some_and(is_sent)
            && let Some(room) = self.change().rooms.get_mut(&room_nid)
        {
            room.until = Some(after);
        }
    }

    /// Forgets a room.
    pub(super) fn remove(&mut self, room_nid: RoomNid) {
        if self.current().rooms.contains_key(&room_nid) {
            self.change().rooms.remove(&room_nid);
        }
    }
}

impl Connection {
    fn forget_unused_configs(&mut self) {
        let mut places = HashMap::new();
        let mut kept = Vec::new();
        for room in self.rooms.values_mut() {
            let Some(config) = self.configs.get(room.config) else {
                continue;
            };
            room.config = *places.entry(room.config).or_insert_with(|| {
                kept.push(config.clone());
                kept.len() - 1
            });
        }
        self.configs = kept;
    }
}

/// The configuration with which a client has been sent a room, after it has been sent it with `config`.
///
/// What it was sent before stays sent, unless events (`is_limited`) or changes of state
/// (`left_required`) were left out since.
pub(super) fn sent_config(
    before: Option<&RoomConfig>,
    config: &RoomConfig,
    is_limited: bool,
    left_required: bool,
) -> RoomConfig {
    let Some(before) = before else {
        return config.clone();
    };
    let mut sent = config.clone();
    if !is_limited {
        sent.timeline_limit = sent.timeline_limit.max(before.timeline_limit);
    }
    if !left_required {
        let union = before.required_state.union(&config.required_state);
        if union.len() <= MAX_REQUIRED_STATE {
            sent.required_state = union;
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::{super::request::RequiredState, *};

    fn config(timeline_limit: u64, event_types: &[&str]) -> RoomConfig {
        let mut required_state = RequiredState::default();
        for event_type in event_types {
            required_state.include(event_type, "");
        }
        RoomConfig::new(timeline_limit, required_state)
    }

    #[test]
    fn a_version_changes_only_with_what_has_been_sent() {
        let base = Arc::new(Connection::default());
        let mut update = ConnectionUpdate::new(&base);
        update.send(RoomNid(1), &config(1, &["m.room.name"]), false);
        update.send(RoomNid(2), &config(20, &[]), true);
        let first = Arc::new(update.into_changed().unwrap());

        let mut update = ConnectionUpdate::new(&first);
        update.send(RoomNid(1), &config(1, &["m.room.name"]), false);
        update.leave_out(RoomNid(3), StreamPosition(5));
        update.remove(RoomNid(3));
        assert!(update.into_changed().is_none());

        let mut update = ConnectionUpdate::new(&first);
        update.leave_out(RoomNid(1), StreamPosition(5));
        let left = Arc::new(update.into_changed().unwrap());
        assert_eq!(
            left.room(RoomNid(1)).unwrap().until,
            Some(StreamPosition(5))
        );
        // What begins there goes on.
        let mut update = ConnectionUpdate::new(&left);
        update.leave_out(RoomNid(1), StreamPosition(7));
        assert!(update.into_changed().is_none());

        let text = serde_json::to_string(&*left).unwrap();
        let read: Connection = serde_json::from_str(&text).unwrap();
        for room_nid in [RoomNid(1), RoomNid(2)] {
            let (room, same) = (left.room(room_nid).unwrap(), read.room(room_nid).unwrap());
            assert_eq!((room, left.config(room)), (same, read.config(same)));
        }
    }

    #[test]
    fn configurations_that_no_room_has_are_forgotten() {
        let mut connection = Arc::new(Connection::default());
        for limit in 0..100 {
            let mut update = ConnectionUpdate::new(&connection);
            update.send(RoomNid(1), &config(20, &[]), false);
            update.send(RoomNid(2), &config(limit, &["org.x"]), false);
            connection = Arc::new(update.into_changed().unwrap());
        }
        assert!(connection.configs.len() <= MAX_CONFIGS);
        let limit = |nid| {
            let room = connection.room(RoomNid(nid)).unwrap();
            connection.config(room).unwrap().timeline_limit
        };
        assert_eq!((limit(1), limit(2)), (20, 99));
    }

    #[test]
    fn what_was_sent_stays_sent_until_something_is_left_out() {
        let (before, now) = (config(20, &["m.room.topic"]), config(1, &["m.room.name"]));
        let both = config(20, &["m.room.name", "m.room.topic"]);
        assert_eq!(sent_config(Some(&before), &now, false, false), both);
        assert_eq!(sent_config(Some(&before), &now, true, true), now);
        assert_eq!(sent_config(None, &now, false, false), now);
    }
}
