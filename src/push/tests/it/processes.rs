//! Several processes on one database, and restarts.

use testkit::{TestDatabase, room::TestRoom};

use crate::support::{Gateway, Process, alice, bob};

/// The bodies of the next so many notifications.
async fn bodies(gateway: &mut Gateway, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let next = gateway.next().await;
        bodies.push(next["content"]["body"].as_str().unwrap_or("?").to_owned());
    }
    bodies
}

#[tokio::test]
async fn of_two_processes_one_sends_each_notification_once() {
    let mut gateway = Gateway::start().await;
    let test = testkit::database().await;
    let options = test.options.clone();
    let mut first = Process::new(test);
    let room = TestRoom::create(&first.db, &alice()).await;
    room.member(&first.db, &bob(), &bob(), "join").await;
    first.pusher(&bob(), "key", &gateway).await;
    first.begin().await;
    let mut second = Process::new(TestDatabase::open(options).await);
    second.start();
    first.start();
    let sent: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for body in &sent {
        room.message(&first.db, &alice(), body).await;
    }
    assert_eq!(bodies(&mut gateway, sent.len()).await, sent);
    // Nothing was sent twice before this one.
    room.message(&first.db, &alice(), "last").await;
    assert_eq!(bodies(&mut gateway, 1).await, ["last"]);
}

#[tokio::test]
async fn a_process_goes_on_where_another_one_stopped() {
    let mut gateway = Gateway::start().await;
    let test = testkit::database().await;
    let options = test.options.clone();
    let mut first = Process::new(test);
    let db = first.db.clone();
    let room = TestRoom::create(&db, &alice()).await;
    room.member(&db, &bob(), &bob(), "join").await;
    first.pusher(&bob(), "key", &gateway).await;
    first.begin().await;
    first.start();
    room.message(&db, &alice(), "one").await;
    assert_eq!(bodies(&mut gateway, 1).await, ["one"]);
    first.stop().await;
    let mut second = Process::new(TestDatabase::open(options).await);
    room.message(&second.db, &alice(), "two").await;
    second.start();
    assert_eq!(bodies(&mut gateway, 1).await, ["two"]);
}
