//! Sliding sync.

mod connections;
mod extensions;
mod lists;
mod membership;
mod rooms;

use std::{collections::BTreeMap, time::Duration};

use live::PresenceState;
use ruma::{UserId, owned_device_id};
use serde_json::Value;
use sync::{
    Error,
    sliding_sync::{
        Extensions, Format, ListFilters, Request, RequiredState, RoomConfig, RoomList, Scope,
    },
};
use testkit::{register_device, room::TestRoom};

use crate::support::Server;

/// A client that goes on from where its last response ended.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) request: Request,
}

impl Client {
    /// A client that asks for nothing yet.
    pub(crate) async fn new(server: &Server, user_id: &UserId) -> Self {
        let device_id = owned_device_id!("PHONE");
        register_device(&server.db.database, user_id, &device_id).await;
        Self {
            request: Request {
                user_id: user_id.to_owned(),
                device_id,
                conn_id: "main".to_owned(),
                pos: None,
                txn_id: None,
                timeout: Duration::ZERO,
                set_presence: PresenceState::Offline,
                lists: BTreeMap::new(),
                subscriptions: BTreeMap::new(),
                extensions: Extensions::default(),
                format: Format::Unstable,
            },
        }
    }

    /// A client with one list of all rooms.
    pub(crate) async fn of_all_rooms(server: &Server, user_id: &UserId) -> Self {
        let mut client = Self::new(server, user_id).await;
        client.list("all", (0, 99), config(10, &[]));
        client
    }

    /// Asks for a list.
    pub(crate) fn list(&mut self, name: &str, range: (u64, u64), config: RoomConfig) {
        let list = RoomList {
            ranges: Some(vec![range]),
            filters: ListFilters::default(),
            config,
        };
        self.request.lists.insert(name.to_owned(), list);
    }

    /// Subscribes to a room.
    pub(crate) fn subscribe(&mut self, room: &TestRoom, config: RoomConfig) {
        let room_id = room.room_id.clone();
        self.request.subscriptions.insert(room_id, config);
    }

    /// Syncs, and goes on from the response.
    pub(crate) async fn sync(&mut self, server: &Server) -> Value {
        let answer = self.peek(server).await;
        self.go_on(&answer);
        answer
    }

    /// Syncs as a client that loses the response.
    pub(crate) async fn peek(&self, server: &Server) -> Value {
        let text = self.try_sync(server).await.expect("a response");
        serde_json::from_str(&text).expect("JSON")
    }

    pub(crate) async fn try_sync(&self, server: &Server) -> Result<String, Error> {
        server.sync.sliding(&self.request).await
    }

    pub(crate) fn go_on(&mut self, answer: &Value) {
        let pos = answer["pos"].as_str().expect("a position");
        self.request.pos = Some(pos.to_owned());
    }
}

/// So much of the timeline, and this state; `$LAZY` stands for the members that the timeline mentions.
pub(crate) fn config(timeline_limit: u64, required: &[(&str, &str)]) -> RoomConfig {
    let mut state = RequiredState::default();
    for (event_type, state_key) in required {
        if *state_key == "$LAZY" {
            state.set_lazy_members();
        } else {
            state.include(event_type, state_key);
        }
    }
    RoomConfig::new(timeline_limit, state)
}

/// All rooms of the response.
pub(crate) fn everywhere() -> Scope {
    Scope::default()
}

/// What a response says of a room; null if nothing.
pub(crate) fn of<'a>(answer: &'a Value, room: &TestRoom) -> &'a Value {
    &answer["rooms"][room.room_id.as_str()]
}

/// How many rooms a response is about.
pub(crate) fn rooms_in(answer: &Value) -> usize {
    answer["rooms"].as_object().expect("an object").len()
}

/// Types and state keys of the required state of a room.
pub(crate) fn state_keys(room: &Value) -> Vec<(&str, &str)> {
    let state = room["required_state"].as_array();
    let mut keys: Vec<(&str, &str)> = state
        .into_iter()
        .flatten()
        .map(|event| {
            let text = |field: &str| event[field].as_str().expect("a text");
            (text("type"), text("state_key"))
        })
        .collect();
    keys.sort_unstable();
    keys
}
