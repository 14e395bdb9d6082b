//! `chancery user create`, beside a running server and without one.

use super::server::{Server, chancery_on};

#[test]
fn accounts_are_made_beside_a_running_server_and_without_one() {
    let hint = "user create NAME --admin";
    let server = Server::start(&[]);
    server.until_logged(hint);
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
    let server = Server::start_on(data, &[]);
    server.until_logged("Ready");
    assert!(!server.has_logged(hint));
    server.terminate();
}

#[test]
fn a_registration_token_is_made_and_known_to_the_server() {
    let server = Server::start(&[("CHANCERY_REGISTRATION", "token")]);
    let arguments = ["registration-token", "create", "--uses", "1", "--days", "7"];
    let made = chancery_on(server.data(), &arguments, "");
    assert!(made.success, "{}", made.stderr);
    let validity = |token: &str| {
        let path = "/_matrix/client/v1/register/m.login.registration_token/validity";
        server.get(&format!("{path}?token={token}"))
    };
    assert_eq!(
        validity(made.stdout.trim()),
        (200, r#"{"valid":true}"#.to_owned())
    );
    assert_eq!(validity("another"), (200, r#"{"valid":false}"#.to_owned()));
    let none = chancery_on(
        server.data(),
        &["registration-token", "create", "--uses", "0"],
        "",
    );
    assert!(!none.success);
    server.terminate();
}
