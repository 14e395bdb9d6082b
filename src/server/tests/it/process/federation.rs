//! The listener for other servers: TLS, with the certificate of the settings.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::server::Server;

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
