//! Joining a room of another server without most of its members: it is used before its whole state is
//! known, and what came meanwhile is judged once more then.

use std::sync::Arc;

use event::{
    Parents, Pdu, RoomVersion, State, auth,
    handshake::{MembershipRequest, Residence},
};
use parking_lot::Mutex;
use room::{EventsBefore, MembersQuery, Profile, Rooms};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, RoomVersionId, UInt, UserId,
    events::room::member::MembershipState, owned_room_id, owned_server_name,
};
use serde_json::{Map, Value, json};
use testkit::{HttpsServer, ReceivedRequest, TestCa};
use tokio_util::sync::CancellationToken;
use types::ErrorKind;

use crate::{
    receiving::{MESSAGE, NAME},
    remote::{Branch, Remote},
    support::{Server, alice, bob, content, error_kind, json as parsed, reader, sender},
};

const MEMBER: &str = "m.room.member";

/// What the other server holds, and tells.
struct Held {
    remote: Arc<Remote>,
    branch: Branch,
    events: Vec<Arc<Pdu>>,
    /// The states after events, by the ids of the events.
    states: Vec<(OwnedEventId, State)>,
    /// Whether it tells states.
    tells_states: bool,
}

impl Held {
    fn add(&mut self, user: &str, place: (&str, Option<&str>), content: &Value) -> Arc<Pdu> {
        let sender = Remote::user(user);
        let remote = Arc::clone(&self.remote);
        let pdu = remote.event(&mut self.branch, &sender, place, content);
        self.keep(pdu)
    }

    fn keep(&mut self, pdu: Arc<Pdu>) -> Arc<Pdu> {
        self.events.push(pdu.clone());
        self.states
            .push((pdu.event_id().clone(), self.branch.state.clone()));
        pdu
    }

    fn member(&mut self, user: &str, target: &str, membership: &str) -> Arc<Pdu> {
        let target = Remote::user(target);
        let place = (MEMBER, Some(target.as_str()));
        self.add(user, place, &json!({ "membership": membership }))
    }

    fn template(&self, user_id: &UserId) -> Value {
        let request = MembershipRequest {
            room_id: self.branch.room_id.clone(),
            user_id: user_id.to_owned(),
            membership: MembershipState::Join,
        };
        let asked = request.content(None).expect("content");
        let auth_events = auth::select_auth_events(
            &self.branch.version,
            &self.branch.state,
            &MEMBER.into(),
            user_id,
            Some(user_id.as_str()),
            &asked,
        );
        let parents = Parents {
            prev_events: self.branch.tips.clone(),
            auth_events: (auth_events.expect("auth events").iter())
                .map(|pdu| pdu.event_id().clone())
                .collect(),
            depth: self.branch.depth + 1,
            ..Parents::default()
        };
        let residence = Residence {
            server_name: &self.remote.name,
            authorised_via: None,
            parents: &parents,
            now: MilliSecondsSinceUnixEpoch(UInt::from(1_u32)),
        };
        let event = request.template(&self.branch.version, &residence);
        let event: Value = parsed(&event.expect("a template"));
        json!({ "room_version": self.branch.version.id(), "event": event })
    }

    /// Takes a join in, and tells the room without its members.
    fn join(&mut self, event: &str) -> Value {
        let pdu = Pdu::parse(event, &self.branch.version).expect("an event");
        let before = self.branch.state.clone();
        self.branch.state.insert(Arc::new(pdu.clone()));
        self.branch.tips = vec![pdu.event_id().clone()];
        self.branch.depth = pdu.depth();
        self.keep(Arc::new(pdu));
        let state = before.iter().filter(|pdu| pdu.event_type() != MEMBER);
        let creator = self.events.iter().find(|pdu| pdu.event_type() == MEMBER);
        json!({
            "state": state.map(|pdu| value(pdu)).collect::<Vec<_>>(),
            "auth_chain": creator.into_iter().map(|pdu| value(pdu)).collect::<Vec<_>>(),
            "members_omitted": true,
            "servers_in_room": ["remote.test", "other.test"],
        })
    }

    fn answer(&mut self, received: &ReceivedRequest) -> Option<Value> {
        let target = &received.target;
        if target.contains("/make_join/") {
            let user = if target.contains("bob") {
                bob()
            } else {
                alice()
            };
            return Some(self.template(&user));
        }
        if target.contains("/send_join/") {
            assert!(target.contains("omit_members=true"), "{target}");
            return Some(self.join(std::str::from_utf8(&received.body).expect("text")));
        }
        if target.contains("/event_auth/") {
            let events = self.events.iter().map(|pdu| value(pdu));
            return Some(json!({ "auth_chain": events.collect::<Vec<_>>() }));
        }
        let is_named = |id: &OwnedEventId| target.contains(id.as_str().trim_start_matches('$'));
        if target.contains("/state_ids/") {
            let (_, state) =
                (self.states.iter()).find(|(id, _)| self.tells_states && is_named(id))?;
            let ids: Vec<_> = state.iter().map(|pdu| pdu.event_id()).collect();
            let all: Vec<_> = self.events.iter().map(|pdu| pdu.event_id()).collect();
            return Some(json!({ "pdu_ids": ids, "auth_chain_ids": all }));
        }
        let pdu = self.events.iter().find(|pdu| is_named(pdu.event_id()))?;
        target.contains("/event/").then(
            || json!({ "origin": "remote.test", "origin_server_ts": 1, "pdus": [value(pdu)] }),
        )
    }
}

/// This server, and one with a room of Bob, Carol and Dora.
struct Pair {
    server: Server,
    remote: Arc<Remote>,
    held: Arc<Mutex<Held>>,
    room_id: OwnedRoomId,
    federation: config::Federation,
    _peers: [HttpsServer; 2],
    _ca: TestCa,
}

impl Pair {
    async fn start() -> Self {
        let ca = TestCa::new();
        let remote = Arc::new(Remote::new());
        let room_id = owned_room_id!("!room:remote.test");
        let held = Arc::new(Mutex::new(held(&remote, &room_id)));
        let answering = Arc::clone(&held);
        let peer = HttpsServer::start_json(&ca, &["remote.test"], move |received| {
            answering.lock().answer(received)
        })
        .await;
        // The other one in the room tells the same of it.
        let answering = Arc::clone(&held);
        let other = HttpsServer::start_json(&ca, &["other.test"], move |received| {
            let mut held = answering.lock();
            let tells = std::mem::replace(&mut held.tells_states, true);
            let answer = held.answer(received);
            held.tells_states = tells;
            answer
        })
        .await;
        let federation = json!({
            "mode": "open",
            "ca_file": ca.file(),
            "allowed_networks": ["127.0.0.0/8"],
            "peers": {
                "remote.test": { "address": peer.address().to_string() },
                "other.test": { "address": other.address().to_string() },
            },
        });
        let federation: config::Federation = serde_json::from_value(federation).expect("settings");
        let server = Server::start_federating(&federation).await;
        remote.introduce(&server).await;
        Self {
            server,
            remote,
            held,
            room_id,
            federation,
            _peers: [peer, other],
            _ca: ca,
        }
    }

    async fn join(&self, user_id: &UserId) {
        let via = [owned_server_name!("remote.test")];
        let (profile, content) = (Profile::default(), Map::new());
        self.server
            .join_via(&self.room_id, &sender(user_id), profile, content, &via)
            .await
            .expect("joined");
        self.server.catch_up().await;
    }

    async fn receive(&self, events: &[Arc<Pdu>]) -> Vec<OwnedEventId> {
        let received = self
            .server
            .receive_from(&self.remote, &self.room_id, events)
            .await;
        self.server.catch_up().await;
        received
    }

    /// Completes the state by one of the processes.
    async fn complete(&self, rooms: &Rooms) {
        self.held.lock().tells_states = true;
        let stopping = CancellationToken::new();
        let members = async {
            let members = self.members().await;
            stopping.cancel();
            members
        };
        let (completed, _) = tokio::join!(rooms.complete_states(stopping.clone()), members);
        completed.expect("completed");
        self.server.catch_up().await;
    }

    /// The members, once they are known.
    async fn members(&self) -> Vec<String> {
        let query = MembersQuery::default();
        let alice = alice();
        let members = self.server.members(&self.room_id, reader(&alice), &query);
        let members = parsed(&members.await.expect("members"));
        let members = members["chunk"].as_array().expect("a list");
        let mut members: Vec<String> = (members.iter())
            .map(|member| member["state_key"].as_str().expect("a user").to_owned())
            .collect();
        members.sort();
        members
    }

    /// The ids of the state after the last event that is shown.
    async fn state_ids(&self) -> Vec<OwnedEventId> {
        let mut ids = self.server.state_ids(&self.room_id).await;
        ids.sort();
        ids
    }

    fn held_ids(&self) -> Vec<OwnedEventId> {
        let held = self.held.lock();
        let mut ids: Vec<_> = (held.branch.state.iter())
            .map(|pdu| pdu.event_id().clone())
            .collect();
        ids.sort();
        ids
    }
}

fn held(remote: &Arc<Remote>, room_id: &OwnedRoomId) -> Held {
    let mut held = Held {
        remote: Arc::clone(remote),
        branch: Branch {
            version: RoomVersion::of(&RoomVersionId::V11).expect("version 11"),
            room_id: room_id.clone(),
            state: State::new(),
            tips: Vec::new(),
            depth: 0,
        },
        events: Vec::new(),
        states: Vec::new(),
        tells_states: false,
    };
    let create = json!({ "room_version": "11" });
    held.add("bob", ("m.room.create", Some("")), &create);
    held.member("bob", "bob", "join");
    let levels = json!({ "users": {
        (Remote::user("bob").as_str()): 100,
        (Remote::user("carol").as_str()): 50,
        (Remote::user("dora").as_str()): 100,
    } });
    held.add("bob", ("m.room.power_levels", Some("")), &levels);
    let rules = json!({ "join_rule": "public" });
    held.add("bob", ("m.room.join_rules", Some("")), &rules);
    held.member("carol", "carol", "join");
    held.member("dora", "dora", "join");
    held
}

fn value(pdu: &Pdu) -> Value {
    serde_json::from_str(pdu.json()).expect("JSON")
}

fn message(text: &str) -> Value {
    json!({ "body": text })
}

#[tokio::test]
async fn a_room_is_used_before_its_whole_state_is_known() {
    let pair = Pair::start().await;
    pair.join(&alice()).await;
    let room_id = &pair.room_id;
    let sent = pair.server.send_text(room_id, &alice(), "early").await;
    sent.expect("sent");
    let of_carol = pair.held.lock().add("carol", MESSAGE, &message("mine"));
    assert!(pair.receive(&[of_carol]).await.is_empty());
    let texts = pair.server.readable_texts(room_id, &alice()).await;
    assert_eq!(texts, ["early", "mine"]);
    // Who sends is taken for a member.
    let user_id = Remote::user("carol");
    let carol = pair.server.state_id(room_id, MEMBER, user_id.as_str());
    assert!(carol.await.is_some());
    let dora = Remote::user("dora");
    let unknown = pair.server.state_id(room_id, MEMBER, dora.as_str()).await;
    assert_eq!(unknown, None);

    pair.complete(&pair.server).await;
    assert_eq!(pair.state_ids().await, pair.held_ids());
    let all = [
        &alice(),
        &Remote::user("bob"),
        &Remote::user("carol"),
        &dora,
    ];
    let mut all = all.map(ToString::to_string);
    all.sort();
    assert_eq!(pair.members().await, all);
    // At each event, and for a process that begins now.
    for event in pair.server.stored(room_id).await {
        let keys = snapshot_size(&pair.server, &event).await;
        assert_eq!(keys, pair.held_ids().len(), "{}", event.pdu.json());
    }
    let restarted = pair.server.another().await;
    let mut ids = restarted.state_ids(room_id).await;
    ids.sort();
    assert_eq!(ids, pair.held_ids());
}

/// How many keys the state after an event has.
async fn snapshot_size(server: &Server, event: &storage::StoredEvent) -> usize {
    let snapshot = event.snapshot_nid.expect("a snapshot");
    let mut db = server.test.database.acquire().await.expect("a connection");
    let stored = storage::snapshots::read(&mut db, &[snapshot]).await;
    stored.expect("the snapshot")[&snapshot].state.len()
}

#[tokio::test]
async fn what_was_judged_without_knowing_all_is_judged_once_more() {
    let pair = Pair::start().await;
    let before = {
        let mut held = pair.held.lock();
        let before = held.branch.clone();
        held.member("dora", "dora", "leave");
        before
    };
    pair.join(&alice()).await;
    let (kick, name, last) = {
        let mut held = pair.held.lock();
        // Dora, who has left, kicks Carol by what was before.
        let now = held.branch.clone();
        let mut past = Branch {
            tips: now.tips.clone(),
            depth: now.depth,
            ..before
        };
        let carol = Remote::user("carol");
        let place = (MEMBER, Some(carol.as_str()));
        let kick = pair.remote.event(
            &mut past,
            &Remote::user("dora"),
            place,
            &json!({ "membership": "leave" }),
        );
        held.branch.tips = past.tips;
        held.branch.depth = past.depth;
        let name = held.add("carol", NAME, &json!({ "name": "ours" }));
        let last = held.add("bob", MESSAGE, &message("last"));
        (kick, name, last)
    };
    let events = [kick.clone(), name.clone(), last.clone()];
    assert!(pair.receive(&events).await.is_empty());
    let room_id = &pair.room_id;
    assert!(pair.server.is_shown(room_id, kick.event_id()).await);
    assert!(!pair.server.is_shown(room_id, name.event_id()).await);

    pair.complete(&pair.server).await;
    assert!(!pair.server.is_shown(room_id, kick.event_id()).await);
    assert!(pair.server.is_shown(room_id, name.event_id()).await);
    assert_eq!(pair.state_ids().await, pair.held_ids());
    // What is said next follows what was last.
    let sent = pair.server.send_text(room_id, &alice(), "on").await;
    sent.expect("sent");
    let stored = pair.server.stored(room_id).await.pop().expect("events");
    assert_eq!(stored.pdu.prev_events(), [last.event_id().clone()]);
}

#[tokio::test]
async fn another_process_and_another_server_complete_the_state() {
    let pair = Pair::start().await;
    pair.join(&alice()).await;
    let restarted = pair.server.another_federating(&pair.federation).await;
    let stopping = CancellationToken::new();
    let members = async {
        let members = pair.members().await;
        stopping.cancel();
        members
    };
    // The server that was joined through tells nothing.
    let (completed, members) = tokio::join!(restarted.complete_states(stopping.clone()), members);
    completed.expect("completed");
    assert_eq!(members.len(), 4);
    assert_eq!(pair.state_ids().await, pair.held_ids());
}

#[tokio::test]
async fn other_servers_are_not_told_what_is_not_known() {
    let pair = Pair::start().await;
    pair.join(&alice()).await;
    let (room_id, name) = (&pair.room_id, &pair.remote.name);
    let erin = Remote::user("erin");
    let made = pair
        .server
        .make_join(name, room_id, &erin, &[RoomVersionId::V11]);
    assert_eq!(error_kind(made.await), ErrorKind::NotFound);
    let knock = pair
        .server
        .make_knock(name, room_id, &erin, &[RoomVersionId::V11]);
    assert_eq!(error_kind(knock.await), ErrorKind::NotFound);
    let last = pair.server.stored(room_id).await.pop().expect("events");
    let state = pair.server.serve_state(name, room_id, last.pdu.event_id());
    assert_eq!(error_kind(state.await), ErrorKind::UnableDueToPartialState);
    let wanted = EventsBefore {
        latest: &[last.pdu.event_id().clone()],
        earliest: &[],
        with_latest: true,
        min_depth: 0,
        limit: 10,
    };
    let events = pair.server.serve_before(name, room_id, wanted);
    assert_eq!(error_kind(events.await), ErrorKind::UnableDueToPartialState);
}

#[tokio::test]
async fn users_leave_and_join_before_the_whole_state_is_known() {
    let pair = Pair::start().await;
    pair.join(&alice()).await;
    pair.join(&bob()).await;
    let room_id = &pair.room_id;
    let left = pair.server.leave(room_id, &sender(&alice()), None).await;
    left.expect("left");
    pair.server.catch_up().await;
    let leave = pair.server.stored(room_id).await.pop().expect("events");
    assert_eq!(content(&leave.pdu)["membership"], "leave");
    {
        let mut held = pair.held.lock();
        held.branch.state.insert(leave.pdu.clone());
        held.branch.tips = vec![leave.pdu.event_id().clone()];
        held.branch.depth = leave.pdu.depth();
        let pdu = leave.pdu.clone();
        held.keep(pdu);
    }
    let left = pair.server.leave(room_id, &sender(&bob()), None).await;
    left.expect("left");
    pair.server.catch_up().await;
    let leave = pair.server.stored(room_id).await.pop().expect("events");
    {
        let mut held = pair.held.lock();
        held.branch.state.insert(leave.pdu.clone());
        held.branch.tips = vec![leave.pdu.event_id().clone()];
        held.branch.depth = leave.pdu.depth();
        let pdu = leave.pdu.clone();
        held.keep(pdu);
    }
    // Nobody of this server is in the room: it is joined through the other one.
    pair.join(&alice()).await;
    pair.complete(&pair.server).await;
    assert_eq!(pair.state_ids().await, pair.held_ids());
}

#[tokio::test]
async fn the_state_of_a_room_that_was_left_is_given_up() {
    let pair = Pair::start().await;
    pair.join(&alice()).await;
    let left = pair
        .server
        .leave(&pair.room_id, &sender(&alice()), None)
        .await;
    left.expect("left");
    pair.held.lock().events.clear();
    pair.held.lock().states.clear();
    pair.complete(&pair.server).await;
    assert_eq!(pair.members().await, [alice().to_string()]);
}
