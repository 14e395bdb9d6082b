//! A server of which only the part that syncs is there.

use std::{sync::Arc, time::Duration};

use live::{Live, PresenceState};
use ruma::{
    OwnedUserId, UserId, api::client::filter::FilterDefinition, owned_device_id, owned_user_id,
};
use serde_json::{Value, json};
use storage::{UserChange, stream::AccountData};
use sync::{Request, SyncResponder};
use testkit::{PgConnectOptions, TestDatabase, Writer, room::TestRoom};
use tokio_util::sync::CancellationToken;
use types::Clock;

/// How many users of a room are shown as typing.
pub(crate) const MAX_TYPING_USERS: usize = 3;

/// How many connections of sliding sync a device may have.
pub(crate) const MAX_CONNECTIONS: u32 = 3;

pub(crate) struct Server {
    pub(crate) db: Writer,
    pub(crate) live: Live,
    pub(crate) sync: SyncResponder,
    pub(crate) stopping: CancellationToken,
    /// Cancelled when the cache could not follow the stream.
    failed: CancellationToken,
    options: PgConnectOptions,
}

pub(crate) async fn server() -> Server {
    follow(testkit::database().await)
}

/// A server that has just started on a database.
pub(crate) fn follow(database: TestDatabase) -> Server {
    follow_within(database, 64 << 20)
}

/// The same with so many bytes of memory.
pub(crate) fn follow_within(database: TestDatabase, budget: usize) -> Server {
    let options = database.options.clone();
    let settings = live::Settings {
        budget,
        max_typing_users: MAX_TYPING_USERS,
        presence: true,
    };
    let (db, mut feed) = database.split_within(settings);
    let live = db.live.clone();
    let stopping = CancellationToken::new();
    let clock = Clock::fixed(1_700_000_000_000);
    let settings = sync::Settings {
        max_connections_per_device: MAX_CONNECTIONS,
        connection_cache_bytes: 1 << 20,
    };
    let database = db.database.clone();
    let sync = SyncResponder::new(settings, database, live.clone(), clock, stopping.clone());
    let follower = live.clone();
    let failed = CancellationToken::new();
    let fails = failed.clone();
    #[expect(clippy::disallowed_methods, reason = "tests have no supervisor")]
    tokio::spawn(async move {
        if let Err(error) = follower.run(&mut feed).await {
            eprintln!("The cache does not follow the stream any more: {error:?}");
            fails.cancel();
        }
    });
    Server {
        db,
        live,
        sync,
        stopping,
        failed,
        options,
    }
}

pub(crate) fn alice() -> OwnedUserId {
    owned_user_id!("@alice:test.localhost")
}

pub(crate) fn bob() -> OwnedUserId {
    owned_user_id!("@bob:test.localhost")
}

/// The push rules of Bob without notifications of a room.
pub(crate) fn mute_for_bob(room: &TestRoom) -> UserChange {
    let rules = json!({ "global": { "room": [{
        "rule_id": room.room_id, "actions": [], "default": false, "enabled": true,
    }] } });
    UserChange::AccountData(AccountData {
        user_id: bob(),
        room_nid: None,
        event_type: "m.push_rules".to_owned(),
        content: rules.to_string(),
    })
}

pub(crate) fn request(user_id: &UserId, since: Option<&str>) -> Request {
    Request {
        user_id: user_id.to_owned(),
        device_id: owned_device_id!("PHONE"),
        since: since.map(|since| since.parse().expect("a token")),
        filter: Arc::new(FilterDefinition::default()),
        full_state: false,
        use_state_after: false,
        set_presence: PresenceState::Offline,
        timeout: Duration::ZERO,
    }
}

pub(crate) fn filter(json: Value) -> Arc<FilterDefinition> {
    Arc::new(serde_json::from_value(json).expect("a filter"))
}

impl Server {
    /// Another process on the same database, which remembers nothing.
    pub(crate) async fn restarted(&self) -> Self {
        follow(TestDatabase::open(self.options.clone()).await)
    }

    /// Syncs and checks that the answer is JSON.
    pub(crate) async fn ask(&self, request: &Request) -> Value {
        let text = tokio::select! {
            text = self.sync.v3(request) => text.expect("an answer"),
            () = self.failed.cancelled() => panic!("the cache failed"),
        };
        serde_json::from_str(&text).expect("JSON")
    }

    pub(crate) async fn sync(&self, user_id: &UserId, since: Option<&str>) -> Value {
        self.ask(&request(user_id, since)).await
    }

    /// A token for now.
    pub(crate) async fn token(&self, user_id: &UserId) -> String {
        next(&self.sync(user_id, None).await)
    }
}

/// Alice sets the topic of a room.
pub(crate) async fn set_topic(server: &Server, room: &TestRoom, topic: &str) {
    let content = json!({ "topic": topic });
    room.state(&server.db, &alice(), "m.room.topic", "", content)
        .await;
}

/// Alice sets who may see the history of a room.
pub(crate) async fn set_visibility(server: &Server, room: &TestRoom, visibility: &str) {
    let content = json!({ "history_visibility": visibility });
    let event_type = "m.room.history_visibility";
    room.state(&server.db, &alice(), event_type, "", content)
        .await;
}

pub(crate) fn next(answer: &Value) -> String {
    answer["next_batch"].as_str().expect("a token").to_owned()
}

/// The `type` of each event of a list.
pub(crate) fn event_types(events: &Value) -> Vec<&str> {
    events
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| event["type"].as_str())
        .collect()
}

/// The bodies of the messages of a list.
pub(crate) fn bodies(events: &Value) -> Vec<&str> {
    events
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}
