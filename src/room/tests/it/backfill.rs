//! Gaps in the history of a room are filled by what another server tells, as far as it holds.

use std::sync::Arc;

use event::Pdu;
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::{Value, json};
use testkit::{HttpsServer, ReceivedRequest, TestCa};

use crate::{
    receiving::{MESSAGE, NAME, room, set},
    remote::{Branch, Remote},
    support::{Server, alice, backwards, bodies, carol, user},
};

const VISIBILITY: (&str, Option<&str>) = ("m.room.history_visibility", Some(""));

/// What the other server answers.
#[derive(Default)]
struct Answers {
    /// To requests for single events.
    events: Vec<Arc<Pdu>>,
    /// To requests for the state at an event: the ids of the state, and of what authorises it.
    state: Vec<OwnedEventId>,
    /// To requests for missing events.
    missing: Vec<Value>,
    /// To requests for what is before an event.
    before: Option<Value>,
}

/// This server and one that is asked, with a room that both are in.
struct Pair {
    server: Server,
    remote: Remote,
    peer: HttpsServer,
    answers: Arc<Mutex<Answers>>,
    room_id: OwnedRoomId,
    branch: Branch,
    /// The last message that was hidden.
    last_hidden: Option<Arc<Pdu>>,
    _ca: TestCa,
}

impl Pair {
    async fn start() -> Self {
        let ca = TestCa::new();
        let answers: Arc<Mutex<Answers>> = Arc::default();
        let told = Arc::clone(&answers);
        let peer = HttpsServer::start_json(&ca, &["remote.test"], move |received| {
            answer(&told.lock(), received)
        })
        .await;
        let address = peer.address().to_string();
        let federation = json!({
            "mode": "open",
            "ca_file": ca.file(),
            "allowed_networks": ["127.0.0.0/8"],
            "peers": { "remote.test": { "address": address } },
        });
        let federation = serde_json::from_value(federation).expect("settings");
        let (server, remote) = (Server::start_federating(&federation).await, Remote::new());
        let (room_id, branch) = room(&server, &remote).await;
        Self {
            server,
            remote,
            peer,
            answers,
            room_id,
            branch,
            last_hidden: None,
            _ca: ca,
        }
    }

    /// Makes a message of the other server that this one does not get.
    fn hidden(&mut self, text: &str) -> Arc<Pdu> {
        let hidden = set(&self.remote, &mut self.branch, MESSAGE, text);
        self.last_hidden = Some(hidden.clone());
        hidden
    }

    /// Has a message fetched that follows some that are not known here: the other server tells only
    /// the state there, and the event right before it by its id.
    async fn send_past_gap(&mut self, text: &str) -> Arc<Pdu> {
        let state = self.branch.state.iter();
        let state: Vec<OwnedEventId> = state.map(|pdu| pdu.event_id().clone()).collect();
        let before = self.last_hidden.take();
        let last = set(&self.remote, &mut self.branch, MESSAGE, text);
        {
            let mut answers = self.answers.lock();
            answers.state = state;
            answers.events.extend(before);
            answers.missing = vec![value(&last)];
        }
        // What it sends itself must not follow what it does not tell.
        let content = json!({});
        let place = ("org.example.nudge", None);
        let sender = Remote::user("bob");
        let nudge = (self.remote).event(&mut self.branch, &sender, place, &content);
        let events = std::slice::from_ref(&nudge);
        let refused = self
            .server
            .receive_from(&self.remote, &self.room_id, events);
        assert!(refused.await.is_empty());
        last
    }

    /// Has the other server tell these events, the latest first.
    fn tell(&self, events: &[&Arc<Pdu>]) {
        let pdus = events.iter().map(|pdu| value(pdu));
        self.tell_values(pdus.collect());
    }

    fn tell_values(&self, pdus: Vec<Value>) {
        let before = json!({ "origin": "remote.test", "origin_server_ts": 1, "pdus": pdus });
        self.answers.lock().before = Some(before);
    }

    /// The texts that a user reads, the oldest first.
    async fn texts(&self) -> Vec<String> {
        self.server.readable_texts(&self.room_id, &alice()).await
    }

    fn requests(&self, path: &str) -> usize {
        let received = self.peer.received();
        let wanted = |request: &&ReceivedRequest| request.target.contains(path);
        received.iter().filter(wanted).count()
    }
}

fn value(pdu: &Pdu) -> Value {
    serde_json::from_str(pdu.json()).expect("JSON")
}

fn answer(answers: &Answers, received: &ReceivedRequest) -> Option<Value> {
    let target = &received.target;
    if target.contains("/get_missing_events/") {
        return Some(json!({ "events": answers.missing }));
    }
    if target.contains("/state_ids/") {
        let ids = &answers.state;
        return Some(json!({ "pdu_ids": ids, "auth_chain_ids": ids }));
    }
    if target.contains("/backfill/") {
        return answers.before.clone();
    }
    let is_named = |pdu: &&Arc<Pdu>| {
        let id = pdu.event_id().as_str().trim_start_matches('$');
        target.contains("/event/") && target.contains(id)
    };
    let pdu = answers.events.iter().find(is_named)?;
    Some(json!({ "origin": "remote.test", "origin_server_ts": 1, "pdus": [value(pdu)] }))
}

#[tokio::test]
async fn a_gap_is_filled_in_its_place() {
    let mut pair = Pair::start().await;
    let known = pair.hidden("known");
    let refused = pair
        .server
        .receive_from(&pair.remote, &pair.room_id, std::slice::from_ref(&known))
        .await;
    assert!(refused.is_empty());
    let [one, two, three] = ["one", "two", "three"].map(|text| pair.hidden(text));
    let last = pair.send_past_gap("last").await;
    pair.server
        .send_text(&pair.room_id, &alice(), "answer")
        .await
        .expect("sent");
    pair.tell(&[&three, &two, &one, &known]);
    let all = ["known", "one", "two", "three", "last", "answer"];
    assert_eq!(pair.texts().await, all);
    assert_eq!(pair.requests("/backfill/"), 1);
    // No client is told of it by `/sync`: it has no place in the stream.
    let stored = pair.server.stored(&pair.room_id).await;
    let find = |pdu: &Pdu| {
        let mut stored = stored.iter();
        stored.find(|event| event.pdu.event_id() == pdu.event_id())
    };
    assert_eq!(find(&two).expect("filled").position, None);
    // The timeline of `/sync` does not reach back over it.
    assert!(find(&last).expect("the last").after_gap);
    assert!(!find(&known).expect("the first").after_gap);
    // It is whole now.
    assert_eq!(pair.texts().await, all);
    assert_eq!(pair.requests("/backfill/"), 1);
}

#[tokio::test]
async fn what_does_not_hold_or_leads_nowhere_is_not_taken() {
    let mut pair = Pair::start().await;
    let mut elsewhere = pair.branch.clone();
    let [one, two, three] = ["one", "two", "three"].map(|text| pair.hidden(text));
    let last = pair.send_past_gap("last").await;
    let lonely = set(&pair.remote, &mut elsewhere, MESSAGE, "lonely");
    let mut forged = value(&two);
    forged["content"] = json!({ "body": "forged" });
    forged["signatures"] = json!({});
    let mut altered = value(&one);
    altered["content"] = json!({ "body": "altered" });
    let mut foreign = value(&three);
    foreign["room_id"] = json!("!other:remote.test");
    let garbage = json!({ "type": 7 });
    let pdus = vec![
        value(&last),
        value(&three),
        forged,
        altered,
        foreign,
        garbage,
        value(&lonely),
    ];
    pair.tell_values(pdus);
    // Of the altered event what its hash does not cover is gone; the forged one is passed over.
    assert_eq!(pair.texts().await, ["three", "last"]);
    let stored = pair.server.stored(&pair.room_id).await;
    let is_stored = |pdu: &Pdu| {
        stored
            .iter()
            .any(|event| event.pdu.event_id() == pdu.event_id())
    };
    assert!(is_stored(&one) && !is_stored(&two) && !is_stored(&lonely));
}

#[tokio::test]
async fn a_server_that_knows_nothing_is_not_asked_again_at_once() {
    let mut pair = Pair::start().await;
    pair.hidden("one");
    pair.send_past_gap("last").await;
    let (reader, request) = (alice(), backwards(1000));
    for _ in 0..3 {
        let page = pair.server.page(&pair.room_id, &reader, &request).await;
        let page = page.expect("what is known");
        assert_eq!(bodies(&page["chunk"]), ["last"]);
    }
    assert_eq!(pair.requests("/backfill/"), 1);
}

#[tokio::test]
async fn what_was_hidden_in_a_gap_stays_hidden() {
    let mut pair = Pair::start().await;
    let set_visibility = |pair: &mut Pair, value: &str| {
        let content = json!({ "history_visibility": value });
        let sender = Remote::user("bob");
        (pair.remote).event(&mut pair.branch, &sender, VISIBILITY, &content)
    };
    let one = pair.hidden("one");
    let joined = set_visibility(&mut pair, "joined");
    let two = pair.hidden("two");
    let shared = set_visibility(&mut pair, "shared");
    let three = pair.hidden("three");
    let name = set(&pair.remote, &mut pair.branch, NAME, "name");
    {
        let mut answers = pair.answers.lock();
        answers.events = vec![joined.clone(), shared.clone(), name.clone()];
    }
    pair.send_past_gap("last").await;
    // Comes after all of it.
    let newcomer = user("dora");
    (pair.server.join_room(&pair.room_id, &newcomer).await).expect("joined");
    pair.tell(&[&name, &three, &shared, &two, &joined, &one]);
    assert_eq!(pair.texts().await, ["one", "two", "three", "last"]);
    let seen = pair.server.readable_texts(&pair.room_id, &newcomer).await;
    assert_eq!(seen, ["one", "three", "last"]);
    let hidden = pair
        .server
        .read(&pair.room_id, &newcomer, two.event_id())
        .await;
    assert!(hidden.is_err());
}

#[tokio::test]
async fn an_event_that_is_asked_for_by_its_id_is_fetched_with_the_state_there() {
    let mut pair = Pair::start().await;
    let [one, two] = ["one", "two"].map(|text| pair.hidden(text));
    pair.send_past_gap("last").await;
    pair.answers.lock().events = vec![one.clone()];
    let shown = pair
        .server
        .read(&pair.room_id, &alice(), one.event_id())
        .await;
    assert_eq!(shown.expect("fetched")["content"]["body"], "one");
    // Strangers cause no requests.
    let before = pair.requests("/event/");
    let refused = pair
        .server
        .read(&pair.room_id, &carol(), two.event_id())
        .await;
    assert!(refused.is_err());
    assert_eq!(pair.requests("/event/"), before);
    // What is between fits in later.
    pair.tell(&[&two, &one]);
    assert_eq!(pair.texts().await, ["one", "two", "last"]);
}

#[tokio::test]
async fn an_event_that_no_server_has_is_not_asked_for_again_at_once() {
    let mut pair = Pair::start().await;
    let hidden = pair.hidden("hidden");
    let (server, room_id) = (&pair.server, &pair.room_id);
    for _ in 0..3 {
        let unknown = server.read(room_id, &alice(), hidden.event_id()).await;
        assert!(unknown.is_err());
        assert_eq!(pair.requests("/event/"), 1);
    }
    // Once it has come it is there.
    let received = server.receive_from(&pair.remote, room_id, std::slice::from_ref(&hidden));
    assert!(received.await.is_empty());
    let shown = server.read(room_id, &alice(), hidden.event_id()).await;
    shown.expect("it has come");
}
