//! The server as a process: it starts from nothing, stops on a signal, and survives being killed.

mod client;
mod complement;
mod federation;
mod federation_devices;
mod federation_directory;
mod federation_history;
mod federation_joins;
mod federation_media;
mod federation_messages;
mod federation_presence;
mod federation_spaces;
mod federation_third_party;
mod federation_three;
mod http;
mod killed;
mod model;
mod pair;
mod server;
mod syncing;
mod user_create;

use std::{fs, os::unix::fs::PermissionsExt as _};

use server::Server;

#[test]
fn it_starts_from_nothing_and_stops_with_its_database() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/health").0, 200);
    assert_eq!(server.get("/ready").0, 200);
    assert_eq!(server.get("/_matrix/client/versions").0, 200);
    let postmaster = server.postmaster();
    assert!(is_alive(postmaster));
    let data = server.terminate();
    assert!(!is_alive(postmaster));
    drop(data);
}

#[test]
fn files_are_for_the_server_alone() {
    let data = Server::start(&[]).terminate();
    let closed = |path: &str| {
        let mode = fs::metadata(data.path().join(path))
            .unwrap()
            .permissions()
            .mode();
        mode.trailing_zeros() >= 6
    };
    assert!(closed("data/media") && closed("data/postgres") && closed("data/postgres/server_name"));
}

#[test]
fn a_killed_server_leaves_a_database_that_the_next_one_takes_over() {
    let server = Server::start(&[]);
    let postmaster = server.postmaster();
    let data = server.kill();
    assert!(is_alive(postmaster));

    let server = Server::start_on(data, &[]);
    assert_eq!(server.postmaster(), postmaster);
    assert_eq!(server.get("/ready").0, 200);
    server.terminate();
    assert!(!is_alive(postmaster));
}

#[test]
fn another_server_name_is_refused() {
    let data = Server::start(&[]).terminate();
    let errors = Server::refused(&data, &[("CHANCERY_SERVER_NAME", "other.localhost")]);
    assert!(
        errors.contains("belongs to the server name localhost"),
        "{errors}"
    );
}

#[test]
fn the_database_may_be_lost_and_come_back() {
    let server = Server::start(&[]);
    let first = server.postmaster();
    kill(first);
    // It is started again; requests are answered again without a restart of the server.
    server.until(|server| server.postmaster() != first && server.get("/ready").0 == 200);
    server.terminate();
}

#[test]
fn metrics_are_served_on_their_own_listener() {
    let server = Server::start(&[("CHANCERY_METRICS_LISTEN", "127.0.0.1:0")]);
    server.get("/_matrix/client/versions");
    let (status, body) = http::get(&server.address("Listening for Prometheus"), "/metrics");
    assert_eq!(status, 200);
    let counted = "chancery_http_request_duration_seconds_count{method=\"GET\",route=\"/_matrix/client/versions\",status=\"200\"} 1";
    assert!(body.contains(counted), "{body}");
    assert!(body.contains("process_resident_memory_bytes"), "{body}");
    assert_eq!(server.get("/metrics").0, 404);
    server.terminate();
}

#[test]
fn request_logs_contain_no_private_data() {
    let server = Server::start(&[("CHANCERY_LOG_FORMAT", "json")]);
    server.get("/_matrix/client/versions?access_token=sesame");
    server.get("/_matrix/client/v3/rooms/!secret-path:localhost/state?access_token=sesame");
    let log = server.until_logged("client/versions");
    assert!(
        log.contains("\"request.id\"") && log.contains("\"duration_ms\""),
        "{log}"
    );
    assert!(!log.contains("sesame"), "{log}");
    server.terminate();
}

fn is_alive(pid: u32) -> bool {
    // A process that has ended but was not reaped by its parent is a zombie.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
}
