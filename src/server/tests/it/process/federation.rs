//! The listener for other servers, and servers that talk to each other through it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
};

use rustix::process::Signal;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::TestCa;

use super::{
    client::Client,
    server::{Server, chancery_on},
};

/// Where a server listens for others: its name is its address, so that it is found without DNS.
pub(super) struct Place {
    pub(super) name: String,
    folder: TempDir,
}

impl Place {
    pub(super) fn new(ca: &TestCa, address: &str) -> Self {
        // Free now; nothing else on this machine listens on these addresses.
        let socket = TcpListener::bind((address, 0)).unwrap();
        let place = Self {
            name: socket.local_addr().unwrap().to_string(),
            folder: tempfile::tempdir().unwrap(),
        };
        place.certify(ca, address);
        place
    }

    fn certify(&self, ca: &TestCa, name: &str) {
        let certified = ca.certify(&[name]);
        fs::write(self.file("certificate.pem"), certified.certificate.pem()).unwrap();
        fs::write(self.file("key.pem"), certified.key.serialize_pem()).unwrap();
    }

    fn file(&self, name: &str) -> String {
        let file = self.folder.path().join(name);
        file.to_str().unwrap().to_owned()
    }

    /// Starts a server that trusts the authority in the file `ca`, with more settings in a file.
    pub(super) fn start(&self, ca: &Path, settings: &str) -> Server {
        let environment = self.environment(ca, settings);
        Server::start(
            &environment
                .each_ref()
                .map(|(name, value)| (*name, &**value)),
        )
    }

    /// The same on the data of a server that has ended.
    pub(super) fn start_on(&self, data: TempDir, ca: &Path, settings: &str) -> Server {
        let environment = self.environment(ca, settings);
        Server::start_on(
            data,
            &environment
                .each_ref()
                .map(|(name, value)| (*name, &**value)),
        )
    }

    fn environment(&self, ca: &Path, settings: &str) -> [(&'static str, String); 9] {
        self.write_settings(settings);
        [
            ("CHANCERY_CONFIG", self.file("chancery.toml")),
            ("CHANCERY_SERVER_NAME", self.name.clone()),
            ("CHANCERY_REGISTRATION", "open".to_owned()),
            ("CHANCERY_RATE_LIMITS", "off".to_owned()),
            ("CHANCERY_FEDERATION_LISTEN", self.name.clone()),
            (
                "CHANCERY_FEDERATION_CERTIFICATE_FILE",
                self.file("certificate.pem"),
            ),
            ("CHANCERY_FEDERATION_PRIVATE_KEY_FILE", self.file("key.pem")),
            (
                "CHANCERY_FEDERATION_CA_FILE",
                ca.to_str().unwrap().to_owned(),
            ),
            (
                "CHANCERY_FEDERATION_ALLOWED_NETWORKS",
                r#"["127.0.0.0/8"]"#.to_owned(),
            ),
        ]
    }

    fn write_settings(&self, settings: &str) {
        fs::write(self.file("chancery.toml"), settings).unwrap();
    }
}

pub(super) const OPEN: &str = "[federation]\nmode = \"open\"\n";
const CLOSED: &str = "[federation]\nmode = \"closed\"\n";

#[test]
fn two_servers_query_each_other() {
    let ca = TestCa::new();
    let (here, there) = (Place::new(&ca, "127.0.0.2"), Place::new(&ca, "127.0.0.3"));
    let allowing = format!(
        "[federation]\nmode = \"allowlist\"\nallowlist = [\"{}\"]\n",
        here.name
    );
    let one = here.start(ca.file(), OPEN);
    let other = there.start(ca.file(), &allowing);
    let alice = Client::register(&one.clients(), "alice");
    let bob = Client::register(&other.clients(), "bob");

    let name = json!({ "displayname": "Bob" });
    let path = format!("profile/{}/displayname", bob.user_id);
    bob.ok(&other.clients(), "PUT", &path, &name);
    let room = json!({ "room_alias_name": "tea" });
    let room = bob.ok(&other.clients(), "POST", "createRoom", &room);

    assert_eq!(alice.ok(&one.clients(), "GET", &path, &Value::Null), name);
    let path = format!("profile/{}", bob.user_id);
    assert_eq!(alice.ok(&one.clients(), "GET", &path, &Value::Null), name);
    let path = format!("directory/room/%23tea:{}", there.name);
    let found = alice.ok(&one.clients(), "GET", &path, &Value::Null);
    assert_eq!(
        found,
        json!({ "room_id": room["room_id"], "servers": [there.name] })
    );

    let missing = |path: &str| alice.call(&one.clients(), "GET", path, &Value::Null).status;
    assert_eq!(missing(&format!("profile/@nobody:{}", there.name)), 404);
    assert_eq!(
        missing(&format!("directory/room/%23none:{}", there.name)),
        404
    );
    assert_eq!(missing("profile/@nobody:127.0.0.4:1"), 502);
    one.terminate();
    other.terminate();
}

#[test]
fn policy_and_certificate_are_read_again_on_sighup() {
    let ca = TestCa::new();
    let (here, there) = (Place::new(&ca, "127.0.0.2"), Place::new(&ca, "127.0.0.3"));
    let one = here.start(ca.file(), CLOSED);
    let other = there.start(ca.file(), OPEN);
    let alice = Client::register(&one.clients(), "alice");
    let bob = Client::register(&other.clients(), "bob");
    let ask = |client: &Client, server: &Server, user: &Client| {
        let path = format!("profile/{}", user.user_id);
        client.call(&server.clients(), "GET", &path, &Value::Null)
    };

    let refused = ask(&alice, &one, &bob);
    assert_eq!(
        (refused.status, &refused.body["errcode"]),
        (403, &json!("M_FORBIDDEN"))
    );
    // The other server is refused as well, and says nothing of that to its client but that it failed.
    assert_eq!(ask(&bob, &other, &alice).status, 502);

    here.write_settings("[federation]\nmode = \"ajar\"\n");
    one.signal(Signal::HUP);
    one.until_logged("The settings were not read again");
    assert_eq!(ask(&alice, &one, &bob).status, 403);

    here.write_settings(OPEN);
    one.signal(Signal::HUP);
    one.until_logged("The settings were read again");
    assert_eq!(ask(&alice, &one, &bob).status, 200);

    // A certificate for another name: nobody finds this server under its own any more.
    here.certify(&ca, "127.0.0.9");
    one.signal(Signal::HUP);
    one.until_logged("The certificate for other servers was read again");
    let trusted = rustls_roots(&ca);
    assert_eq!(handshake(&trusted, "127.0.0.2", &here.name), None);
    assert!(handshake(&trusted, "127.0.0.9", &here.name).is_some());
    one.terminate();
    other.terminate();
}

pub(super) fn rustls_roots(ca: &TestCa) -> Arc<ClientConfig> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    let mut trusted = RootCertStore::empty();
    trusted
        .add(CertificateDer::from_pem_file(ca.file()).unwrap())
        .unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trusted)
            .with_no_client_auth();
    Arc::new(config)
}

/// The version of TLS with a server that must have a certificate for `name`; `None` if it has not.
pub(super) fn handshake(
    config: &Arc<ClientConfig>,
    name: &'static str,
    address: &str,
) -> Option<rustls::ProtocolVersion> {
    let mut connection =
        ClientConnection::new(Arc::clone(config), name.try_into().unwrap()).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    connection.complete_io(&mut stream).ok()?;
    connection.protocol_version()
}

#[test]
fn a_rotated_signing_key_is_used_from_the_next_start_on() {
    let published = |server: &Server| -> Value {
        let (status, keys) = server.get("/_matrix/key/v2/server");
        assert_eq!(status, 200);
        serde_json::from_str(&keys).unwrap()
    };
    let names =
        |keys: &Value| -> Vec<String> { keys.as_object().unwrap().keys().cloned().collect() };
    let server = Server::start(&[]);
    let before = published(&server);
    let rotated = chancery_on(server.data(), &["signing-key", "rotate"], "");
    assert!(rotated.success, "{}", rotated.stderr);
    let new_key = rotated.stdout.split("ed25519:").nth(1).unwrap();
    let new_key = format!("ed25519:{}", new_key.split('.').next().unwrap());
    assert_eq!(published(&server)["verify_keys"], before["verify_keys"]);

    let server = Server::start_on(server.terminate(), &[]);
    let after = published(&server);
    assert_eq!(names(&after["verify_keys"]), [new_key]);
    assert_eq!(
        names(&after["old_verify_keys"]),
        names(&before["verify_keys"])
    );
    let (old_key, value) = after["old_verify_keys"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    assert_eq!(value["key"], before["verify_keys"][old_key]["key"]);
    assert!(value["expired_ts"].as_u64() < after["valid_until_ts"].as_u64());
    server.terminate();
}

#[test]
fn other_servers_are_answered_over_tls_and_given_nothing_else() {
    let files = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (
        files.path().join("certificate.pem"),
        files.path().join("key.pem"),
    );
    fs::write(&certificate, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let server = Server::start(&[
        ("CHANCERY_FEDERATION_LISTEN", "127.0.0.1:0"),
        (
            "CHANCERY_FEDERATION_CERTIFICATE_FILE",
            certificate.to_str().unwrap(),
        ),
        (
            "CHANCERY_FEDERATION_PRIVATE_KEY_FILE",
            key.to_str().unwrap(),
        ),
    ]);

    let mut trusted = RootCertStore::empty();
    trusted.add(certified.cert.der().clone()).unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trusted)
            .with_no_client_auth();
    let config = Arc::new(config);
    let ask = |path: &str| {
        let connection =
            ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap()).unwrap();
        let stream = TcpStream::connect(server.address("Listening for other servers")).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        // The server may close without saying goodbye first; what it answered is here by then.
        let _ended = stream.read_to_string(&mut answer);
        answer
    };
    let version = ask("/_matrix/federation/v1/version");
    assert!(
        version.starts_with("HTTP/1.1 200 ") && version.contains("Chancery"),
        "{version}"
    );
    for path in [
        "/_matrix/client/v3/login",
        "/_synapse/admin/v1/register",
        "/_matrix/media/v3/config",
    ] {
        let answer = ask(path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    server.terminate();
}
