//! Time limits, on a clock that stands still but when everybody waits for it.

use axum::routing::get;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivatePkcs8KeyDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::*;

const REQUEST: &[u8] = b"GET /quick HTTP/1.1\r\nhost: localhost\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A server that runs as long as the test does.
struct Server {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let address = serde_json::from_value("127.0.0.1:0".into()).unwrap();
        let proxies = TrustedProxies::default();
        let listener = Listener::bind(&address, "client.listen", tls, proxies)
            .await
            .unwrap();
        let router = Router::new()
            .route("/quick", get(async || "done"))
            .route("/slow", get(async || sleep(Duration::from_mins(5)).await));
        let address = listener.address().unwrap();
        let (stopping, aborting) = (CancellationToken::new(), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(listener.serve(router, stopping, aborting));
        Self {
            address,
            _task: task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// After how many seconds the server ends a connection on which nothing more is said, and what it
/// has said by then.
async fn silence(mut stream: impl AsyncRead + Unpin) -> (u64, String) {
    let start = Instant::now();
    let mut answer = Vec::new();
    // A connection that is reset has ended, too.
    let ended = timeout(Duration::from_hours(1), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection is kept for ever");
    let seconds = start.elapsed().as_secs();
    (seconds, String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_said_is_ended() {
    let server = Server::start(None).await;
    let (seconds, answer) = silence(server.connect().await).await;
    assert_eq!((seconds, &*answer), (30, ""));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_finished_is_given_up() {
    let server = Server::start(None).await;
    for beginning in [&REQUEST[..1], &REQUEST[..30], &PREFACE[..1], &PREFACE[..23]] {
        let mut stream = server.connect().await;
        stream.write_all(beginning).await.unwrap();
        let (seconds, answer) = silence(stream).await;
        assert_eq!(seconds, 30, "{beginning:?}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_has_no_more_time() {
    let server = Server::start(None).await;
    let mut stream = server.connect().await;
    let start = Instant::now();
    for byte in REQUEST {
        // Once it has ended nothing can be sent any more.
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(5)).await;
    }
    silence(stream).await;
    assert!(
        start.elapsed() < Duration::from_mins(1),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_the_next_request_for_a_while() {
    let server = Server::start(None).await;
    let mut stream = server.connect().await;
    stream.write_all(REQUEST).await.unwrap();
    sleep(Duration::from_secs(29)).await;
    stream.write_all(REQUEST).await.unwrap();
    let (seconds, answer) = silence(stream).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(seconds, 30);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_is_not_cut_off() {
    let server = Server::start(None).await;
    let mut stream = server.connect().await;
    // Shorter than what HTTP/2 begins with.
    stream
        .write_all(b"GET /slow HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let (seconds, answer) = silence(stream).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert_eq!(seconds, 300);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_ping_is_given_up() {
    let server = Server::start(None).await;
    let mut stream = server.connect().await;
    stream.write_all(PREFACE).await.unwrap();
    let (seconds, _) = silence(stream).await;
    assert_eq!(seconds, 90);
}

/// A certificate for `localhost`: what the server shows, and a client that takes it.
fn certificate() -> (TlsAcceptor, TlsConnector) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server).into(), Arc::new(client).into())
}

#[tokio::test(start_paused = true)]
async fn who_does_not_agree_on_keys_is_given_up() {
    let server = Server::start(Some(certificate().0)).await;
    let mut stream = server.connect().await;
    // The beginning of a handshake.
    stream.write_all(&[22, 3, 1]).await.unwrap();
    let (seconds, _) = silence(stream).await;
    assert_eq!(seconds, 10);
}

#[tokio::test(start_paused = true)]
async fn who_agrees_on_keys_and_then_says_nothing_is_given_up() {
    let (acceptor, connector) = certificate();
    let server = Server::start(Some(acceptor)).await;
    for beginning in [&[][..], &PREFACE[..5], &REQUEST[..5]] {
        let name = ServerName::try_from("localhost").unwrap();
        let stream = server.connect().await;
        let mut stream = connector.connect(name, stream).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let (seconds, answer) = silence(stream).await;
        assert_eq!(seconds, 30, "{beginning:?}: {answer}");
    }
}
