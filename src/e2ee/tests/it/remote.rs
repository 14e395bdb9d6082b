//! Keys of users of another server: asked for, cached, kept up to date.

use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Body, http::Response};
use e2ee::{DeviceListUpdate, Keys, QueriedKeys, SigningKeyUpdate};
use event::Signer;
use federation::{Federation, OwnKeys};
use parking_lot::Mutex;
use ruma::{OneTimeKeyAlgorithm, OwnedUserId, UserId, owned_user_id};
use serde_json::{Value, json};
use testkit::{HttpsServer, ReceivedRequest, TestCa, TestDatabase, Writer, room::TestRoom};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use types::Clock;

use crate::support::{CrossSigner, Device, TIMEOUT, raw, user_id, value};

const REMOTE: &str = "remote.localhost";
const CLOCK: u64 = 1_700_000_000_000;

fn bob() -> OwnedUserId {
    owned_user_id!("@bob:remote.localhost")
}

/// What the other server says of its only user, and what it was asked.
#[derive(Debug, Default)]
struct Known {
    stream_id: u64,
    devices: Vec<Value>,
    master_key: Option<Value>,
    asked: Vec<String>,
}

impl Known {
    fn answer(&mut self, request: &ReceivedRequest) -> Value {
        self.asked.push(request.target.clone());
        let id = |keys: &Value| keys["device_id"].as_str().expect("an id").to_owned();
        if request.target.contains("/user/devices/") {
            let devices = self.devices.iter();
            let devices = devices.map(|keys| json!({ "device_id": id(keys), "keys": keys }));
            let devices: Vec<Value> = devices.collect();
            let mut list = json!({
                "user_id": bob(), "stream_id": self.stream_id, "devices": devices,
            });
            if let Some(key) = &self.master_key {
                list["master_key"] = key.clone();
            }
            return list;
        }
        if request.target.ends_with("/user/keys/query") {
            let devices = self.devices.iter().map(|keys| (id(keys), keys.clone()));
            let devices: BTreeMap<String, Value> = devices.collect();
            return json!({ "device_keys": {
                bob(): devices,
                // Nobody asked for this one, and it is not of that server.
                "@alice:test.localhost": { "FORGED": {} },
            } });
        }
        json!({ "one_time_keys": { bob(): { "PHONE": {
            "signed_curve25519:A": { "key": "a" }, "signed_curve25519:B": { "key": "b" },
        } } } })
    }
}

/// This server and another one.
struct Servers {
    known: Arc<Mutex<Known>>,
    db: Writer,
    keys: Keys,
    alice: OwnedUserId,
    /// The other server, until it is stopped.
    remote: Option<HttpsServer>,
    stopping: CancellationToken,
    tasks: JoinSet<()>,
    _ca: TestCa,
}

async fn servers() -> Servers {
    let ca = TestCa::new();
    let known: Arc<Mutex<Known>> = Arc::default();
    let answers = Arc::clone(&known);
    let remote = HttpsServer::start(&ca, &[REMOTE], move |request| {
        let answer = answers.lock().answer(request);
        Response::new(Body::from(answer.to_string()))
    })
    .await;
    let test = testkit::database().await;
    let clock = Clock::fixed(CLOCK);
    let keys = keys(&test, &ca, &remote, &clock);
    let (db, mut feed) = test.split();
    let changes = feed.subscribe();
    let mut tasks = JoinSet::new();
    let (live, cached) = (db.live.clone(), keys.clone());
    tasks.spawn(async move {
        live.run(&mut feed).await.expect("followed");
    });
    tasks.spawn(async move { cached.follow(changes).await });
    let alice = user_id("alice");
    Servers {
        known,
        db,
        keys,
        alice,
        remote: Some(remote),
        stopping: CancellationToken::new(),
        tasks,
        _ca: ca,
    }
}

fn keys(test: &TestDatabase, ca: &TestCa, remote: &HttpsServer, clock: &Clock) -> Keys {
    let (signer, _) = Signer::generate(&testkit::server_name()).expect("a key");
    let settings: config::Federation = toml::from_str(&format!(
        "mode = 'open'
         ca_file = '{}'
         allowed_networks = ['127.0.0.0/8']
         dns_servers = ['127.0.0.1:1']
         [peers.'{REMOTE}']
         address = '{}'
         host = '{REMOTE}'",
        ca.file().display(),
        remote.address()
    ))
    .expect("settings");
    let federation = Federation::new(
        &testkit::server_name(),
        &settings,
        OwnKeys::new(signer, TIMEOUT * 1000),
        test.database.clone(),
        clock.clone(),
    );
    let settings = e2ee::Settings {
        server_name: testkit::server_name(),
        cache_bytes: 1 << 20,
        send_device_names: true,
        limits: config::Limits::default(),
    };
    let (database, committer) = (test.database.clone(), test.committer.clone());
    let federation = federation.expect("a client");
    Keys::new(settings, database, committer, federation, clock.clone())
}

impl Servers {
    /// The other server's user gets a device, which its server numbers so.
    fn add_device(&self, stream_id: u64, device_id: &str) -> Device {
        let device = Device::new(&bob(), device_id);
        let mut known = self.known.lock();
        known.stream_id = stream_id;
        known.devices.push(device.device_keys());
        device
    }

    /// A room that both users are in.
    async fn share_a_room(&self) -> TestRoom {
        let room = TestRoom::create(&self.db, &self.alice).await;
        room.member(&self.db, &bob(), &bob(), "join").await;
        room
    }

    async fn query(&self) -> QueriedKeys {
        let wanted = BTreeMap::from([(bob(), vec![])]);
        let found = self.keys.query(&self.alice, wanted, TIMEOUT).await;
        found.expect("keys")
    }

    /// The user's devices, which must be found.
    async fn devices(&self) -> Vec<String> {
        let found = self.query().await;
        assert!(found.failures.is_empty());
        let devices = found.device_keys.get(&bob()).expect("the user").keys();
        devices.map(ToString::to_string).collect()
    }

    async fn refresh(&self) {
        let refreshed = self.keys.refresh_stale_lists().await;
        refreshed.expect("refreshed");
    }

    async fn update(&self, update: DeviceListUpdate) {
        let received = self.keys.receive_device_list_update(update).await;
        received.expect("received");
    }

    /// How often clients were told to ask for the user's keys again.
    async fn last_told(&self) -> i64 {
        let mut db = self.db.database.acquire().await.expect("a connection");
        let (from, to) = (types::StreamPosition(0), self.db.database.committed());
        let kinds = [storage::ChangeKind::DeviceList];
        let changes = storage::stream::read_kinds(&mut db, from, to, &kinds).await;
        let changes = changes.expect("changes").into_iter();
        changes
            .map(|(position, _)| position.get())
            .max()
            .unwrap_or_default()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.known.lock().asked)
    }

    fn stop_remote(&mut self) {
        self.remote = None;
    }
}

fn update(stream_id: u64, prev_ids: &[u64], device: &Device) -> DeviceListUpdate {
    DeviceListUpdate {
        user_id: bob(),
        device_id: device.device_id.clone(),
        display_name: Some("A tablet".to_owned()),
        stream_id,
        prev_ids: prev_ids.to_vec(),
        is_deleted: false,
        keys: Some(raw(device.device_keys())),
    }
}

#[tokio::test]
async fn keys_are_asked_for_once_and_cached_while_a_room_is_shared() {
    let mut servers = servers().await;
    servers.add_device(7, "PHONE");
    // No room is shared: asked each time, and nothing is kept.
    for _ in 0..2 {
        assert_eq!(servers.devices().await, ["PHONE"]);
        servers.refresh().await;
        assert_eq!(servers.asked(), ["/_matrix/federation/v1/user/keys/query"]);
    }
    servers.share_a_room().await;
    assert_eq!(servers.devices().await, ["PHONE"]);
    servers.refresh().await;
    assert_eq!(
        servers.asked(),
        ["/_matrix/federation/v1/user/devices/@bob:remote.localhost"]
    );
    servers.stop_remote();
    assert_eq!(servers.devices().await, ["PHONE"]);
}

#[tokio::test]
async fn keys_of_many_users_are_asked_for_together_and_their_lists_read_behind() {
    let servers = servers().await;
    servers.add_device(7, "PHONE");
    servers.share_a_room().await;
    let others = (0..16).map(|n| UserId::parse(format!("@other{n}:remote.localhost")));
    let others = others.map(|user_id| (user_id.expect("a user id"), vec![]));
    let wanted = others.chain([(bob(), vec![])]).collect();
    let found = servers.keys.query(&servers.alice, wanted, TIMEOUT).await;
    assert_eq!(found.expect("keys").device_keys[&bob()].len(), 1);
    assert_eq!(servers.asked(), ["/_matrix/federation/v1/user/keys/query"]);
    servers.refresh().await;
    assert_eq!(
        servers.asked(),
        ["/_matrix/federation/v1/user/devices/@bob:remote.localhost"]
    );
    servers.devices().await;
    assert!(servers.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_answer_has_failed_and_nothing_else() {
    let mut servers = servers().await;
    servers.stop_remote();
    servers.share_a_room().await;
    let found = servers.query().await;
    assert_eq!(found.failures.len(), 1);
    assert!(found.device_keys.is_empty());
    let devices = BTreeMap::from([("PHONE".into(), OneTimeKeyAlgorithm::SignedCurve25519)]);
    let wanted = BTreeMap::from([(bob(), devices)]);
    let claimed = servers.keys.claim(wanted, TIMEOUT).await.expect("claimed");
    assert_eq!(claimed.failures, found.failures);
    // Tried again later, not at once.
    let next = servers.keys.refresh_stale_lists().await.expect("refreshed");
    assert!(next.is_some());
}

#[tokio::test]
async fn what_a_server_says_of_others_and_more_than_was_asked_for_is_left_out() {
    let servers = servers().await;
    servers.add_device(1, "PHONE");
    let mut foreign = Device::new(&owned_user_id!("@eve:remote.localhost"), "EVE").device_keys();
    foreign["unsigned"] = json!({ "device_display_name": "A name" });
    servers.known.lock().devices.push(foreign);
    let found = servers.query().await;
    assert_eq!(found.device_keys.len(), 1);
    assert_eq!(found.device_keys[&bob()].len(), 1);
    let devices = BTreeMap::from([("PHONE".into(), OneTimeKeyAlgorithm::SignedCurve25519)]);
    let wanted = BTreeMap::from([(bob(), devices)]);
    let claimed = servers.keys.claim(wanted, TIMEOUT).await.expect("claimed");
    assert_eq!(claimed.one_time_keys[&bob()].len(), 1);
    let (_, keys) = claimed.one_time_keys[&bob()]
        .first_key_value()
        .expect("a device");
    assert_eq!(keys.len(), 1);
}

#[tokio::test]
async fn updates_that_follow_are_applied_and_those_with_a_gap_make_the_list_be_read_anew() {
    let servers = servers().await;
    servers.share_a_room().await;
    servers.add_device(7, "PHONE");
    servers.query().await;
    servers.refresh().await;
    servers.asked();

    let before = servers.last_told().await;
    let tablet = Device::new(&bob(), "TABLET");
    servers.update(update(8, &[7], &tablet)).await;
    let told = servers.last_told().await;
    assert!(told > before);
    assert_eq!(servers.devices().await, ["PHONE", "TABLET"]);
    let found = servers.query().await;
    let keys = &found.device_keys[&bob()][&tablet.device_id];
    assert_eq!(value(keys)["unsigned"]["device_display_name"], "A tablet");
    let deletion = DeviceListUpdate {
        is_deleted: true,
        keys: None,
        ..update(9, &[8], &tablet)
    };
    servers.update(deletion).await;
    assert_eq!(servers.devices().await, ["PHONE"]);
    // The same update again: nothing changes.
    servers.update(update(9, &[8], &tablet)).await;
    assert_eq!(servers.devices().await, ["PHONE"]);
    assert!(servers.asked().is_empty());

    // 10 was missed.
    let laptop = servers.add_device(11, "LAPTOP");
    let told = servers.last_told().await;
    servers.update(update(11, &[10], &laptop)).await;
    assert!(servers.last_told().await > told);
    assert_eq!(servers.devices().await, ["LAPTOP", "PHONE"]);
    servers.refresh().await;
    assert_eq!(
        servers.asked(),
        ["/_matrix/federation/v1/user/devices/@bob:remote.localhost"]
    );
    assert_eq!(servers.devices().await, ["LAPTOP", "PHONE"]);
    servers.update(update(12, &[11], &tablet)).await;
    assert_eq!(servers.devices().await.len(), 3);
    // Older than what is known: the other server has lost its count.
    servers.update(update(3, &[], &tablet)).await;
    assert_eq!(servers.devices().await, ["LAPTOP", "PHONE"]);
    assert!(!servers.asked().is_empty());
}

#[tokio::test]
async fn a_list_that_grows_without_end_is_read_anew_and_cut_off() {
    const MAX_DEVICES: usize = 2000;
    let servers = servers().await;
    servers.share_a_room().await;
    servers.add_device(7, "PHONE");
    {
        let mut known = servers.known.lock();
        let phone = known.devices[0].clone();
        let more = (1..MAX_DEVICES).map(|number| {
            let mut device = phone.clone();
            device["device_id"] = format!("PHONE{number}").into();
            device
        });
        known.devices.extend(more);
    }
    servers.query().await;
    servers.refresh().await;
    assert_eq!(servers.devices().await.len(), MAX_DEVICES);
    servers.asked();
    for stream_id in [8, 9] {
        let tablet = servers.add_device(stream_id, &format!("TABLET{stream_id}"));
        servers
            .update(update(stream_id, &[stream_id - 1], &tablet))
            .await;
        servers.refresh().await;
        assert_eq!(
            servers.asked(),
            ["/_matrix/federation/v1/user/devices/@bob:remote.localhost"]
        );
        assert_eq!(servers.devices().await.len(), MAX_DEVICES);
    }
}

#[tokio::test]
async fn updates_of_users_who_share_no_room_change_nothing() {
    let servers = servers().await;
    let tablet = Device::new(&bob(), "TABLET");
    servers.update(update(1, &[], &tablet)).await;
    assert_eq!(servers.last_told().await, 0);
    assert!(servers.asked().is_empty());
}

#[tokio::test]
async fn the_announcement_of_a_list_after_its_user_has_joined_is_no_news() {
    let servers = servers().await;
    let tablet = Device::new(&bob(), "TABLET");
    for stream_id in [2, 4] {
        // Clients are told with the join.
        servers.share_a_room().await;
        let told = servers.last_told().await;
        servers.update(update(stream_id, &[1], &tablet)).await;
        assert_eq!(servers.last_told().await, told);
        // Nobody has asked for the keys, but a client may want to know.
        let next = update(stream_id + 1, &[stream_id], &tablet);
        servers.update(next).await;
        assert!(servers.last_told().await > told);
    }
    servers.refresh().await;
    assert!(servers.asked().is_empty());
}

#[tokio::test]
async fn a_list_is_not_announced_when_a_user_of_this_server_joins() {
    let servers = servers().await;
    let room = TestRoom::create(&servers.db, &bob()).await;
    let alice = servers.alice.clone();
    room.member(&servers.db, &alice, &alice, "join").await;
    let told = servers.last_told().await;
    let tablet = Device::new(&bob(), "TABLET");
    servers.update(update(2, &[1], &tablet)).await;
    assert!(servers.last_told().await > told);
}

#[tokio::test]
async fn a_list_is_given_up_with_the_last_shared_room() {
    let mut servers = servers().await;
    let (keys, stopping) = (servers.keys.clone(), servers.stopping.clone());
    // Where the follower begins: it may start after the first change.
    let mut db = servers.db.database.acquire().await.expect("a connection");
    let start = types::StreamPosition(0);
    let inserted = storage::cursors::insert(&mut db, "remote_device_lists", start).await;
    inserted.expect("a cursor");
    drop(db);
    servers.tasks.spawn(async move {
        keys.follow_memberships(stopping).await.expect("followed");
    });
    let rooms = [servers.share_a_room().await, servers.share_a_room().await];
    servers.add_device(7, "PHONE");
    servers.query().await;
    servers.refresh().await;
    rooms[0].member(&servers.db, &bob(), &bob(), "leave").await;
    servers.asked();
    assert_eq!(servers.devices().await, ["PHONE"]);
    assert!(servers.asked().is_empty());

    let alice = servers.alice.clone();
    rooms[1].member(&servers.db, &alice, &alice, "leave").await;
    while servers.asked().is_empty() {
        assert_eq!(servers.devices().await, ["PHONE"]);
    }
    // Not cached anew.
    servers.refresh().await;
    servers.query().await;
    assert_eq!(servers.asked(), ["/_matrix/federation/v1/user/keys/query"]);
}

#[tokio::test]
async fn cross_signing_keys_of_another_server_are_kept_and_may_be_signed() {
    let servers = servers().await;
    servers.share_a_room().await;
    let theirs = CrossSigner::new(&bob());
    servers.add_device(1, "PHONE");
    servers.known.lock().master_key = Some(theirs.master_key());
    servers.query().await;
    servers.refresh().await;
    servers.asked();
    let master = |found: &QueriedKeys| value(&found.master_keys[&bob()]);
    assert_eq!(master(&servers.query().await), theirs.master_key());

    // Alice verifies Bob.
    let own = CrossSigner::new(&servers.alice);
    let uploaded = servers.keys.upload_cross_signing(
        &servers.alice,
        own.upload(),
        e2ee::KeyReplacement::Forbidden,
    );
    insert_user(&servers.db, &servers.alice).await;
    uploaded.await.expect("uploaded");
    let mut signed = theirs.master_key();
    let public = own.user_signing.public();
    own.user_signing.sign(&mut signed, &servers.alice, &public);
    let objects = BTreeMap::from([(theirs.master.public(), crate::support::raw_value(signed))]);
    let signed = BTreeMap::from([(bob(), objects)]);
    let failures = servers.keys.upload_signatures(&servers.alice, signed).await;
    assert!(failures.expect("uploaded").is_empty());
    let found = master(&servers.query().await);
    assert!(
        found["signatures"][servers.alice.as_str()].is_object(),
        "{found}"
    );

    // New keys.
    let new = CrossSigner::new(&bob());
    let received = servers.keys.receive_signing_key_update(SigningKeyUpdate {
        user_id: bob(),
        master_key: Some(raw(new.master_key())),
        self_signing_key: Some(new.raw_key("self_signing", &new.self_signing)),
    });
    received.await.expect("received");
    let found = servers.query().await;
    assert_eq!(master(&found), new.master_key());
    assert!(found.self_signing_keys.contains_key(&bob()));
    assert!(servers.asked().is_empty());

    // Not signed by the master key: the user's server is asked.
    let received = servers.keys.receive_signing_key_update(SigningKeyUpdate {
        user_id: bob(),
        master_key: None,
        self_signing_key: Some(theirs.raw_key("self_signing", &theirs.self_signing)),
    });
    received.await.expect("received");
    servers.query().await;
    assert!(!servers.asked().is_empty());
}

async fn insert_user(db: &Writer, user_id: &UserId) {
    let mut connection = db.database.acquire().await.expect("a connection");
    let user = storage::users::NewUser {
        user_id,
        password_hash: None,
        is_admin: false,
        created_ts: 0,
    };
    let inserted = storage::users::insert(&mut connection, user).await;
    inserted.expect("a user");
}
