//! Two servers: this one, with a database, and another that is a real HTTPS server on loopback.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use event::{Pdu, RoomVersion, Signer};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use parking_lot::RwLock;
use ruma::{
    OwnedServerName, ServerName,
    api::federation::authentication::{XMatrix, XMatrixSigningInput},
    user_id,
};
use serde_json::json;
use testkit::{HttpsServer, ReceivedRequest, TestCa};
use types::{Clock, ErrorKind, Fault as _};

use crate::{Error, Exchange, Federation, OwnKeys, Result};

mod notary;

const NOW: u64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_hours(1);

/// Another server, which publishes its keys at its address.
struct Peer {
    name: OwnedServerName,
    signer: Arc<RwLock<Signer>>,
    server: HttpsServer,
}

struct Pair {
    federation: Federation,
    clock: Clock,
    peer: Peer,
    ca: TestCa,
    database: testkit::TestDatabase,
}

impl Pair {
    /// `answer` answers what is not a request for keys.
    async fn start(
        answer: impl Fn(&ReceivedRequest) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let ca = TestCa::new();
        let name = ServerName::parse("127.0.0.1:1").unwrap();
        let (signer, _) = Signer::generate(&name).unwrap();
        let signer = Arc::new(RwLock::new(signer));
        let (published, validity) = (Arc::clone(&signer), AtomicU64::new(NOW));
        let server = HttpsServer::start(&ca, &["127.0.0.1"], move |received| {
            if received.target != "/_matrix/key/v2/server" {
                return answer(received);
            }
            let keys = OwnKeys::new(published.read().clone(), HOUR);
            let now = validity.load(Ordering::Relaxed);
            Response::new(Body::from(keys.response(now).unwrap()))
        })
        .await;
        let name = ServerName::parse(server.address().to_string()).unwrap();
        let peer = Peer {
            name,
            signer,
            server,
        };
        peer.new_key();
        let database = testkit::database().await;
        let clock = Clock::fixed(NOW);
        let federation = federation(&ca, "open", &database, &clock);
        Self {
            federation,
            clock,
            peer,
            ca,
            database,
        }
    }

    async fn verify(&self, headers: &HeaderMap, target: &str, body: &'static str) -> Result<()> {
        let credentials = self.federation.credentials(headers)?;
        let uri: Uri = target.parse().unwrap();
        let body = Bytes::from_static(body.as_bytes());
        self.federation
            .verify(&credentials, &Method::PUT, &uri, &body)
            .await
    }

    fn key_requests(&self) -> usize {
        let received = self.peer.server.received();
        received
            .iter()
            .filter(|request| request.target.starts_with("/_matrix/key"))
            .count()
    }
}

fn federation(
    ca: &TestCa,
    mode: &str,
    database: &testkit::TestDatabase,
    clock: &Clock,
) -> Federation {
    federation_with(ca, &format!("mode = '{mode}'"), database, clock)
}

fn federation_with(
    ca: &TestCa,
    settings: &str,
    database: &testkit::TestDatabase,
    clock: &Clock,
) -> Federation {
    let settings: config::Federation = toml::from_str(&format!(
        "{settings}\nca_file = '{}'\nallowed_networks = ['127.0.0.0/8']\ndns_servers = ['127.0.0.1:1']",
        ca.file().display()
    ))
    .unwrap();
    let own_name = testkit::server_name();
    let (signer, _) = Signer::generate(&own_name).unwrap();
    let own_keys = OwnKeys::new(signer, HOUR);
    let database = database.database.clone();
    Federation::new(&own_name, &settings, own_keys, database, clock.clone()).unwrap()
}

impl Peer {
    fn new_key(&self) {
        let (signer, _) = Signer::generate(&self.name).unwrap();
        *self.signer.write() = signer;
    }

    /// The headers of a `PUT` that it has signed.
    fn sign(&self, destination: &ServerName, target: &str, body: &str) -> HeaderMap {
        let signer = self.signer.read();
        let input =
            XMatrixSigningInput::new(self.name.clone(), destination.to_owned(), signer.key_pair());
        let request = http::Request::builder().method(Method::PUT).uri(target);
        let request = request.body(body.as_bytes()).unwrap();
        let credentials = XMatrix::sign_http_request(&request, input).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from(&credentials))])
    }

    fn sign_for_us(&self, target: &str, body: &str) -> HeaderMap {
        self.sign(&testkit::server_name(), target, body)
    }
}

fn no_answer(_: &ReceivedRequest) -> Response<Body> {
    let mut response = Response::new(Body::from(r#"{"errcode": "M_UNRECOGNIZED", "error": "?"}"#));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

fn kind(result: Result<()>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn a_signed_request_is_accepted_and_the_keys_are_fetched_once() {
    let pair = Pair::start(no_answer).await;
    let headers = pair.peer.sign_for_us("/a?b=c", r#"{"d": 1}"#);
    let verify = || pair.verify(&headers, "/a?b=c", r#"{ "d":1 }"#);
    let (one, two) = tokio::join!(verify(), verify());
    one.unwrap();
    two.unwrap();
    verify().await.unwrap();
    assert_eq!(pair.key_requests(), 1);

    // The keys are stored: another process, or a later one, finds them.
    let other = federation(&pair.ca, "open", &pair.database, &pair.clock);
    let credentials = other.credentials(&headers).unwrap();
    let (uri, body) = (
        Uri::from_static("/a?b=c"),
        Bytes::from_static(br#"{"d":1}"#),
    );
    other
        .verify(&credentials, &Method::PUT, &uri, &body)
        .await
        .unwrap();
    assert_eq!(pair.key_requests(), 1);
}

#[tokio::test]
async fn a_signature_holds_for_one_request_only() {
    let pair = Pair::start(no_answer).await;
    let headers = pair.peer.sign_for_us("/a?b=c", r#"{"d": 1}"#);
    for (target, body) in [
        ("/a?b=d", r#"{"d": 1}"#),
        ("/a", r#"{"d": 1}"#),
        ("/a?b=c", r#"{"d": 2}"#),
        ("/a?b=c", ""),
        ("/a?b=c", "not json"),
    ] {
        let verified = pair.verify(&headers, target, body).await;
        assert!(
            matches!(verified, Err(Error::Signature(_))),
            "{target} {body}: {verified:?}"
        );
    }
    let large = format!(r#"{{"d": "{}"}}"#, "x".repeat(100_000)).leak();
    let headers = pair.peer.sign_for_us("/a", large);
    pair.verify(&headers, "/a", large).await.unwrap();
}

#[tokio::test]
async fn requests_for_others_and_without_credentials_are_refused() {
    let pair = Pair::start(no_answer).await;
    let other = ServerName::parse("other.test").unwrap();
    let headers = pair.peer.sign(&other, "/a", "{}");
    assert_eq!(
        kind(pair.verify(&headers, "/a", "{}").await),
        ErrorKind::Unauthorized
    );
    let none = HeaderMap::new();
    assert_eq!(
        kind(pair.verify(&none, "/a", "{}").await),
        ErrorKind::Unauthorized
    );
    for credentials in [
        "Bearer abc",
        "X-Matrix",
        "X-Matrix origin=a.test",
        "X-Matrix \u{7f}",
    ] {
        let value = HeaderValue::from_bytes(credentials.as_bytes());
        let Ok(value) = value else { continue };
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        let refused = kind(pair.verify(&headers, "/a", "{}").await);
        assert_eq!(refused, ErrorKind::Unauthorized, "{credentials}");
    }
    assert_eq!(pair.key_requests(), 0);
}

#[tokio::test]
async fn older_servers_may_leave_the_destination_out_and_quotes_too() {
    let pair = Pair::start(no_answer).await;
    let headers = pair.peer.sign_for_us("/a", "{}");
    let credentials = XMatrix::parse(headers[header::AUTHORIZATION].to_str().unwrap()).unwrap();
    let text = format!(
        "X-Matrix origin={},key={},sig=\"{}\"",
        credentials.origin, credentials.key, credentials.sig
    );
    let value = HeaderValue::from_str(&text).unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    pair.verify(&headers, "/a", "{}").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_allowed_is_not_even_asked_for_its_keys() {
    let pair = Pair::start(no_answer).await;
    let closed = federation(&pair.ca, "closed", &pair.database, &pair.clock);
    let headers = pair.peer.sign_for_us("/a", "{}");
    let refused = closed.credentials(&headers).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    assert!(refused.to_string().contains(pair.peer.name.as_str()));
    let alice = user_id!("@alice:127.0.0.1:1");
    let refused = closed.query_profile(alice, None).await.unwrap_err();
    assert!(matches!(refused, Error::NotAllowed(_)), "{refused:?}");
    assert!(pair.peer.server.received().is_empty());
}

#[tokio::test]
async fn a_policy_that_is_replaced_holds_at_once() {
    let pair = Pair::start(no_answer).await;
    let headers = pair.peer.sign_for_us("/a", "{}");
    let policy = pair.federation.policy();
    let replace = |text: &str| policy.replace(&toml::from_str(text).unwrap());
    replace("mode = 'allowlist'\nallowlist = ['127.0.0.*', '*.Example.org']");
    pair.verify(&headers, "/a", "{}").await.unwrap();
    let allowed = |name: &str| policy.allows(&ServerName::parse(name).unwrap());
    assert!(allowed("a.EXAMPLE.org") && allowed("test.localhost") && !allowed("example.org"));
    assert_eq!(policy.allowlist().unwrap(), ["127.0.0.*", "*.Example.org"]);
    replace("mode = 'closed'");
    assert_eq!(
        kind(pair.verify(&headers, "/a", "{}").await),
        ErrorKind::Forbidden
    );
    assert_eq!(policy.allowlist(), Some(vec![]));
    replace("mode = 'open'");
    assert_eq!(policy.allowlist(), None);
}

#[tokio::test]
async fn an_expired_key_is_not_believed() {
    let pair = Pair::start(no_answer).await;
    let headers = pair.peer.sign_for_us("/a", "{}");
    pair.verify(&headers, "/a", "{}").await.unwrap();
    pair.clock.advance(HOUR.as_millis() as u64 + 1);
    let refused = pair.verify(&headers, "/a", "{}").await;
    assert!(
        matches!(refused, Err(Error::UnknownKey { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn unknown_keys_do_not_make_this_server_ask_again_and_again() {
    let pair = Pair::start(no_answer).await;
    let headers = pair.peer.sign_for_us("/a", "{}");
    pair.verify(&headers, "/a", "{}").await.unwrap();
    for _ in 0..5 {
        pair.peer.new_key();
        let forged = pair.peer.sign_for_us("/a", "{}");
        assert_eq!(
            kind(pair.verify(&forged, "/a", "{}").await),
            ErrorKind::Unauthorized
        );
    }
    assert_eq!(pair.key_requests(), 1);
}

#[tokio::test]
async fn queries_are_signed_and_their_answers_read() {
    let pair = Pair::start(|received| match &*received.target {
        target if target.starts_with("/_matrix/federation/v1/query/profile?") => Response::new(
            Body::from(json!({ "displayname": "Bob", "m.tz": "UTC" }).to_string()),
        ),
        _ => no_answer(received),
    })
    .await;
    let bob = ruma::UserId::parse(format!("@bob:{}", pair.peer.name)).unwrap();
    let profile = pair.federation.query_profile(&bob, None).await.unwrap();
    assert_eq!(profile["displayname"], "Bob");
    assert_eq!(profile["m.tz"], "UTC");

    let sent = &pair.peer.server.received()[0];
    let credentials =
        XMatrix::parse(sent.headers[header::AUTHORIZATION].to_str().unwrap()).unwrap();
    assert_eq!(credentials.origin, testkit::server_name());
    assert_eq!(credentials.destination.as_ref(), Some(&pair.peer.name));
    let keys: serde_json::Value =
        serde_json::from_str(&pair.federation.own_keys().unwrap()).unwrap();
    let own = &keys["verify_keys"][credentials.key.as_str()]["key"];
    let public_keys = ruma::signatures::PublicKeyMap::from([(
        testkit::server_name().to_string(),
        [(
            credentials.key.to_string(),
            ruma::serde::Base64::parse(own.as_str().unwrap()).unwrap(),
        )]
        .into(),
    )]);
    let request = http::Request::builder()
        .uri(&*sent.target)
        .body(&*sent.body)
        .unwrap();
    credentials
        .verify_http_request(&request, &pair.peer.name, &public_keys)
        .unwrap();
}

#[tokio::test]
async fn errors_of_others_are_told_apart() {
    let pair = Pair::start(|received| {
        let mut response = no_answer(received);
        *response.status_mut() = if received.target.contains("alias1") {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::UNAUTHORIZED
        };
        response
    })
    .await;
    let resolve = async |alias: &str| {
        let alias = ruma::RoomAliasId::parse(format!("#{alias}:{}", pair.peer.name)).unwrap();
        pair.federation.query_directory(&alias).await.unwrap_err()
    };
    assert_eq!(resolve("alias1").await.kind(), ErrorKind::NotFound);
    assert_eq!(resolve("alias2").await.kind(), ErrorKind::BadGateway);
    let gone = user_id!("@bob:127.0.0.1:1");
    let error = pair.federation.query_profile(gone, None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

/// A message of a user of the peer.
fn message(peer: &Peer, version: &RoomVersion) -> Pdu {
    let draft = event::Draft {
        room_id: Some(ruma::owned_room_id!("!room:peer.test")),
        sender: ruma::UserId::parse(format!("@alice:{}", peer.name)).unwrap(),
        event_type: "m.room.message".into(),
        state_key: None,
        content: serde_json::value::to_raw_value(&json!({ "body": "hello" })).unwrap(),
        redacts: None,
        origin_server_ts: ruma::MilliSecondsSinceUnixEpoch(NOW.try_into().unwrap()),
    };
    let parents = event::Parents {
        depth: 5,
        ..event::Parents::default()
    };
    draft.build(version, parents, &peer.signer.read()).unwrap()
}

#[tokio::test]
async fn events_are_verified_with_keys_that_are_fetched_once_for_all() {
    let pair = Pair::start(no_answer).await;
    let version = RoomVersion::of(&ruma::RoomVersionId::V11).unwrap();
    let event = message(&pair.peer, &version);
    for _ in 0..2 {
        let keys = pair
            .federation
            .event_keys(&version, [&event, &event])
            .await
            .unwrap();
        event::verify_event(&event, &version, &keys).unwrap();
    }
    assert_eq!(pair.key_requests(), 1);

    // A key that the server does not publish is asked for once in a while only.
    let unpublished = Peer {
        name: pair.peer.name.clone(),
        signer: Arc::new(RwLock::new(Signer::generate(&pair.peer.name).unwrap().0)),
        server: HttpsServer::start(&pair.ca, &["127.0.0.1"], no_answer).await,
    };
    let forged = message(&unpublished, &version);
    for _ in 0..2 {
        let keys = pair
            .federation
            .event_keys(&version, [&forged])
            .await
            .unwrap();
        assert!(event::verify_event(&forged, &version, &keys).is_err());
    }
    assert_eq!(pair.key_requests(), 1);
}

#[tokio::test]
async fn events_of_servers_that_are_gone_or_not_allowed_are_not_verified() {
    let pair = Pair::start(no_answer).await;
    let version = RoomVersion::of(&ruma::RoomVersionId::V11).unwrap();
    let event = message(&pair.peer, &version);
    let closed = federation(&pair.ca, "closed", &pair.database, &pair.clock);
    let keys = closed.event_keys(&version, [&event]).await.unwrap();
    assert!(event::verify_event(&event, &version, &keys).is_err());
    assert_eq!(pair.key_requests(), 0);
}

#[tokio::test]
async fn what_is_not_exchanged_with_a_server_can_change_at_run_time() {
    let pair = Pair::start(|_| Response::new(Body::empty())).await;
    let policy = pair.federation.policy();
    let exchanges = [
        Exchange::Presence,
        Exchange::Typing,
        Exchange::Receipts,
        Exchange::Media,
    ];
    let exchanged = || exchanges.map(|exchange| policy.exchanges(exchange, &pair.peer.name));
    assert_eq!(exchanged(), [true; 4]);
    let replace = |settings: &str| {
        let settings = settings.replace("PEER", pair.peer.name.as_str());
        policy.replace(&toml::from_str(&settings).unwrap());
    };
    replace("mode = 'open'\n[peers.'PEER']\npresence = false\nmedia = false");
    assert_eq!(exchanged(), [false, true, true, false]);
    let refused = pair
        .federation
        .download_media(&pair.peer.name, "file", Duration::ZERO)
        .await;
    let refused = refused.err().unwrap();
    assert!(matches!(refused, Error::NoMedia(_)), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    assert!(pair.peer.server.received().is_empty());
    replace("mode = 'open'\n[peers.'PEER']\ntyping = false\nreceipts = false");
    assert_eq!(exchanged(), [true, false, false, true]);
    replace("mode = 'closed'");
    assert_eq!(exchanged(), [false; 4]);
}

#[tokio::test]
async fn server_that_sends_too_many_requests_is_refused_for_a_while() {
    let pair = Pair::start(|_| Response::new(Body::empty())).await;
    let settings = format!(
        "mode = 'open'\n[peers.'{}']\nrate_limit = {{ per_second = 0.1, burst = 2 }}",
        pair.peer.name
    );
    pair.federation
        .policy()
        .replace(&toml::from_str(&settings).unwrap());
    let target = "/_matrix/federation/v1/send/1";
    let headers = pair.peer.sign(&testkit::server_name(), target, "{}");
    // What somebody else sends in its name costs it nothing.
    for _ in 0..5 {
        let forged = pair.verify(&headers, target, r#"{"a":1}"#).await;
        assert!(matches!(forged, Err(Error::Signature(_))), "{forged:?}");
    }
    for _ in 0..2 {
        pair.verify(&headers, target, "{}").await.unwrap();
    }
    let limited = pair.verify(&headers, target, "{}").await.unwrap_err();
    let ErrorKind::LimitExceeded {
        retry_after: Some(wait),
    } = limited.kind()
    else {
        panic!("{limited}");
    };
    assert!(
        wait > Duration::from_secs(9) && wait <= Duration::from_secs(10),
        "{wait:?}"
    );
    // Refused before the body is read.
    assert!(pair.federation.credentials(&headers).is_err());
    let settings = "mode = 'open'\nrate_limit = { per_second = 1000000.0, burst = 10 }";
    pair.federation
        .policy()
        .replace(&toml::from_str(settings).unwrap());
    pair.verify(&headers, target, "{}").await.unwrap();
}
