//! Rooms that use a policy server.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use event::{Pdu, RoomVersion, Signer, handshake::countersign};
use ruma::{OwnedRoomId, ServerName};
use serde_json::{Value, json};
use testkit::{HttpsServer, ReceivedRequest, StatusCode, TestCa};
use types::ErrorKind;

use crate::{
    receiving::{MESSAGE, room, set},
    remote::{Branch, Remote},
    support::{Server, alice, error_kind, message, transaction},
};

const KEY_ID: &str = "ed25519:policy_server";

/// This server and a policy server, in a room that uses it.
struct Pair {
    server: Server,
    remote: Remote,
    /// None once it is stopped.
    policy: Option<HttpsServer>,
    settings: config::Federation,
    signer: Signer,
    recommends: Arc<AtomicBool>,
    room_id: OwnedRoomId,
    _ca: TestCa,
}

impl Pair {
    async fn start() -> Self {
        let (ca, remote) = (TestCa::new(), Remote::new());
        let (signer, _) = Signer::generate(&remote.name).expect("a key");
        let recommends = Arc::new(AtomicBool::new(true));
        let (signs, asked) = (signer.clone(), recommends.clone());
        let answer = move |received: &ReceivedRequest| {
            answer(&signs, asked.load(Ordering::Relaxed), received)
        };
        let policy = HttpsServer::start_with_status(&ca, &["remote.test"], answer).await;
        let settings = json!({
            "mode": "open",
            "ca_file": ca.file(),
            "allowed_networks": ["127.0.0.0/8"],
            "peers": { "remote.test": { "address": policy.address().to_string() } },
        });
        let settings = serde_json::from_value(settings).expect("settings");
        let server = Server::start_federating(&settings).await;
        let (room_id, _) = room(&server, &remote).await;
        let content = json!({
            "via": remote.name, "public_keys": { "ed25519": signer.public_key_base64() },
        });
        let named = server
            .set(&room_id, &alice(), "m.room.policy", content)
            .await;
        named.expect("the policy server is named");
        Self {
            server,
            remote,
            policy: Some(policy),
            settings,
            signer,
            recommends,
            room_id,
            _ca: ca,
        }
    }

    fn refuse(&self) {
        self.recommends.store(false, Ordering::Relaxed);
    }

    async fn branch(&self) -> Branch {
        Branch::of(&self.server, &self.room_id).await
    }

    async fn receive(&self, event: &Arc<Pdu>) {
        let events = std::slice::from_ref(event);
        let received = self
            .server
            .receive_from(&self.remote, &self.room_id, events);
        assert!(received.await.is_empty());
    }

    async fn texts(&self) -> Vec<String> {
        self.server.readable_texts(&self.room_id, &alice()).await
    }

    /// How often the policy server was asked.
    fn asked(&self) -> usize {
        let received = self.policy.iter().flat_map(HttpsServer::received);
        received
            .filter(|request| request.target == "/_matrix/policy/v1/sign")
            .count()
    }
}

fn answer(signer: &Signer, recommends: bool, received: &ReceivedRequest) -> (StatusCode, Value) {
    if !recommends {
        let refusal = json!({ "errcode": "M_FORBIDDEN", "error": "This looks like spam" });
        return (StatusCode::BAD_REQUEST, refusal);
    }
    let event = std::str::from_utf8(&received.body).expect("text");
    let event = Pdu::parse(event, &RoomVersion::default_version()).expect("an event");
    (StatusCode::OK, signatures(&event, signer))
}

/// The policy server's signature of an event, as it answers with it.
fn signatures(event: &Pdu, signer: &Signer) -> Value {
    let version = RoomVersion::default_version();
    let signed = countersign(event, &version, signer).expect("a signed event");
    let signed: Value = serde_json::from_str(signed.json()).expect("JSON");
    let server: &ServerName = signer.server_name();
    let signature = &signed["signatures"][server.as_str()][signer.key_id().as_str()];
    json!({ (server.as_str()): { (KEY_ID): signature } })
}

/// The event with the signature of the policy server.
fn with_signature(event: &Pdu, signer: &Signer) -> Arc<Pdu> {
    let mut json: Value = serde_json::from_str(event.json()).expect("JSON");
    let signature = signatures(event, signer)["remote.test"][KEY_ID].clone();
    json["signatures"]["remote.test"][KEY_ID] = signature;
    let signed = Pdu::parse(&json.to_string(), &RoomVersion::default_version());
    Arc::new(signed.expect("an event"))
}

#[tokio::test]
async fn what_is_sent_has_the_signature_of_the_policy_server() {
    let pair = Pair::start().await;
    let (server, room_id) = (&pair.server, &pair.room_id);
    // The event that names it was not shown to it.
    assert_eq!(pair.asked(), 0);
    let sent = server.send_text(room_id, &alice(), "hello").await;
    let name = json!({ "name": "a" });
    let named = server.set(room_id, &alice(), "m.room.name", name).await;
    let named = named.expect("the name is set");
    assert_eq!(pair.asked(), 2);
    let stored = server.stored(room_id).await;
    for event_id in [sent.expect("sent"), named] {
        let event = stored
            .iter()
            .find(|event| *event.pdu.event_id() == event_id);
        let json = event.expect("the event").pdu.json();
        assert!(json.contains(KEY_ID) && json.contains("test.localhost"));
    }
    assert_eq!(pair.texts().await, ["hello"]);
    assert!(server.state_id(room_id, "m.room.name", "").await.is_some());
}

#[tokio::test]
async fn a_repeated_transaction_makes_one_event_in_a_room_with_a_policy_server() {
    let pair = Pair::start().await;
    let sender = transaction(&alice(), "once");
    let first = pair.server.send(&pair.room_id, &sender, message("hello"));
    let first = first.await.expect("sent");
    let other = pair.server.another_federating(&pair.settings).await;
    for server in [&other, &pair.server] {
        let again = server.send(&pair.room_id, &sender, message("hello"));
        assert_eq!(again.await.expect("sent"), first);
    }
    assert_eq!(pair.texts().await, ["hello"]);
}

#[tokio::test]
async fn what_the_policy_server_refuses_is_not_sent_and_its_words_are_passed_on() {
    let pair = Pair::start().await;
    pair.refuse();
    let sent = pair.server.send_text(&pair.room_id, &alice(), "spam").await;
    let error = sent.expect_err("refused");
    assert_eq!(error.to_string(), "This looks like spam");
    assert_eq!(types::Fault::kind(&error), ErrorKind::Forbidden);
    assert!(pair.texts().await.is_empty());
    // The policy server is given up without being asked.
    let nothing = json!({});
    let given_up = pair
        .server
        .set(&pair.room_id, &alice(), "m.room.policy", nothing)
        .await;
    given_up.expect("the policy server is given up");
    let sent = pair.server.send_text(&pair.room_id, &alice(), "ham").await;
    sent.expect("sent");
    assert_eq!(pair.asked(), 1);
}

#[tokio::test]
async fn a_policy_server_that_does_not_answer_recommends_nothing() {
    let mut pair = Pair::start().await;
    let late = set(&pair.remote, &mut pair.branch().await, MESSAGE, "late");
    pair.policy = None;
    let sent = pair
        .server
        .send_text(&pair.room_id, &alice(), "hello")
        .await;
    assert_eq!(error_kind(sent), ErrorKind::BadGateway);
    pair.receive(&late).await;
    assert!(!pair.server.is_shown(&pair.room_id, late.event_id()).await);
}

#[tokio::test]
async fn received_events_without_a_valid_signature_are_asked_about_and_soft_failed() {
    let pair = Pair::start().await;
    let mut branch = pair.branch().await;
    // One that is signed: not asked about.
    let signed = set(&pair.remote, &mut branch, MESSAGE, "signed");
    pair.receive(&with_signature(&signed, &pair.signer)).await;
    assert_eq!(pair.asked(), 0);
    let unsigned = set(&pair.remote, &mut branch, MESSAGE, "unsigned");
    pair.receive(&unsigned).await;
    assert_eq!(pair.asked(), 1);
    // A signature with another key does not count.
    pair.refuse();
    let (other, _) = Signer::generate(&pair.remote.name).expect("a key");
    let forged = set(&pair.remote, &mut branch, MESSAGE, "forged");
    pair.receive(&with_signature(&forged, &other)).await;
    assert_eq!(pair.asked(), 2);
    assert_eq!(pair.texts().await, ["signed", "unsigned"]);
    assert!(!pair.server.is_shown(&pair.room_id, forged.event_id()).await);
    // What follows it is not at fault.
    let last = set(&pair.remote, &mut branch, MESSAGE, "last");
    pair.receive(&with_signature(&last, &pair.signer)).await;
    assert_eq!(pair.texts().await, ["signed", "unsigned", "last"]);
}
