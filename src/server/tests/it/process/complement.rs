//! The start script of the image that Complement runs, without a container.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::TestCa;

use super::{
    client::Client,
    federation::{handshake, rustls_roots},
    server::Server,
};

/// Runs the script as the image does, but for the ports, which must be free here.
fn start(authority: &Path, data: TempDir) -> Server {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../complement/start");
    let mut command = Command::new(script);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SERVER_NAME", "hs1")
        .env("COMPLEMENT_CA", authority)
        .env("CHANCERY_BINARY", env!("CARGO_BIN_EXE_chancery"))
        .env("CHANCERY_DATA_DIR", data.path().join("data"))
        .env("CHANCERY_LISTEN", "127.0.0.1:0")
        .env("CHANCERY_FEDERATION_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    Server::start_by(command, data)
}

#[test]
fn start_script_runs_a_server_with_a_certificate_of_the_suite_and_again_on_its_data() {
    let ca = TestCa::new();
    let authority = tempfile::tempdir().unwrap();
    fs::copy(ca.file(), authority.path().join("ca.crt")).unwrap();
    fs::write(authority.path().join("ca.key"), ca.private_key()).unwrap();
    let data = tempfile::tempdir().unwrap();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o755)).unwrap();

    let server = start(authority.path(), data);
    let address = server.address("Listening for other servers");
    assert!(handshake(&rustls_roots(&ca), "hs1", &address).is_some());
    let alice = Client::register(&server.clients(), "alice");
    assert_eq!(alice.user_id, "@alice:hs1");
    let capabilities = alice.ok(&server.clients(), "GET", "capabilities", &Value::Null);
    let versions = &capabilities["capabilities"]["m.room_versions"];
    assert_eq!(versions["default"], json!("11"));

    let server = start(authority.path(), server.terminate());
    assert!(server.get("/_matrix/client/versions").0 == 200);
    let whoami = alice.ok(&server.clients(), "GET", "account/whoami", &Value::Null);
    assert_eq!(whoami["user_id"], json!("@alice:hs1"));
    server.terminate();
}
