//! `chancery user create`, beside a running server and without one.

use super::server::{Server, chancery_on};

#[test]
fn accounts_are_made_beside_a_running_server_and_without_one() {
    let server = Server::start(&[]);
    let made = chancery_on(
        server.data(),
        &["user", "create", "alice", "--admin"],
        "a long passphrase\n",
    );
    assert_eq!(made.stdout, "Created @alice:localhost\n", "{}", made.stderr);
    let again = chancery_on(server.data(), &["user", "create", "alice"], "another one\n");
    assert!(!again.success);
    assert!(
        again.stderr.contains("cannot be created"),
        "{}",
        again.stderr
    );
    assert_eq!(server.get("/ready").0, 200);
    let data = server.terminate();

    let made = chancery_on(&data, &["user", "create", "bob"], "a long passphrase\n");
    assert_eq!(made.stdout, "Created @bob:localhost\n", "{}", made.stderr);
    let empty = chancery_on(&data, &["user", "create", "carol"], "");
    assert!(
        empty.stderr.contains("the password is empty"),
        "{}",
        empty.stderr
    );
    Server::start_on(data, &[]).terminate();
}
