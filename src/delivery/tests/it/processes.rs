//! Kills, restarts, and several processes on one database.

use std::time::Duration;

use ruma::owned_server_name;
use testkit::TestDatabase;

use crate::support::{Answer, Process, Remote, alice, idle, joined, started};

#[tokio::test]
async fn after_a_kill_the_same_transaction_is_sent_by_the_next_process() {
    let mut remote = Remote::start().await;
    remote.answer(Answer::Hang);
    let test = testkit::database().await;
    let options = test.options.clone();
    let mut first = Process::new(test, &remote);
    let room = joined(&first.db).await;
    first.start();
    room.message(&first.db, &alice(), "one").await;
    let begun = remote.next().await;
    room.message(&first.db, &alice(), "two").await;
    drop(first);
    remote.answer(Answer::Accept);
    let mut second = Process::new(TestDatabase::open(options).await, &remote);
    second.start();
    assert_eq!(remote.next().await, begun);
    assert_eq!(remote.messages_until("two").await, ["two"]);
    idle(&second.db).await;
}

#[tokio::test]
async fn the_other_server_may_be_killed_and_restarted() {
    let mut remote = Remote::start().await;
    let (process, room) = started(&remote).await;
    room.message(&process.db, &alice(), "one").await;
    assert_eq!(remote.messages_until("one").await, ["one"]);
    idle(&process.db).await;
    remote.stop();
    for body in ["two", "three"] {
        room.message(&process.db, &alice(), body).await;
    }
    remote.restart().await;
    assert_eq!(remote.messages_until("three").await, ["two", "three"]);
}

#[tokio::test]
async fn two_processes_send_each_transaction_once() {
    let mut remote = Remote::start().await;
    let test = testkit::database().await;
    let options = test.options.clone();
    let mut first = Process::new(test, &remote);
    let room = joined(&first.db).await;
    let mut second = Process::new(TestDatabase::open(options).await, &remote);
    first.start();
    second.start();
    let bodies: Vec<String> = (0..120).map(|number| number.to_string()).collect();
    for body in &bodies {
        room.message(&first.db, &alice(), body).await;
    }
    assert_eq!(remote.messages_until("119").await, bodies);
    idle(&second.db).await;
}

#[tokio::test]
async fn contact_ends_the_pause_after_a_failure() {
    let mut remote = Remote::start().await;
    remote.answer(Answer::Fail);
    let hour = Duration::from_hours(1);
    let mut process = Process::with_pause(testkit::database().await, &remote, hour);
    let room = joined(&process.db).await;
    process.start();
    room.message(&process.db, &alice(), "one").await;
    let name = owned_server_name!("remote.localhost");
    let first = remote.next().await;
    remote.answer(Answer::Accept);
    loop {
        process.delivery.contacted(&name);
        if let Some(next) = remote.next_now() {
            assert_eq!(next, first);
            break;
        }
        tokio::task::yield_now().await;
    }
    idle(&process.db).await;
}
