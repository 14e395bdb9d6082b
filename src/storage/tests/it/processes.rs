//! Processes that are killed.

use std::time::Duration;

use storage::{PeerEvent, leases};
use testkit::TestDatabase;
use tokio::task::JoinSet;

const HOUR: Duration = Duration::from_hours(1);

/// A process that is connected to the others, and holds a lease of that name.
async fn process(first: &TestDatabase, name: &str) -> (TestDatabase, JoinSet<()>) {
    let mut process = TestDatabase::open(first.options.clone()).await;
    let mut events = process.database.subscribe();
    let (_, listen) = process.feed.connect_cluster();
    let mut tasks = JoinSet::new();
    tasks.spawn(listen);
    assert!(matches!(events.next().await, Some(PeerEvent::Resync)));
    let mut db = process.database.acquire().await.expect("a connection");
    let lease = leases::acquire(&mut db, name, process.database.process(), HOUR).await;
    assert!(lease.expect("an answer").is_some());
    drop(db);
    (process, tasks)
}

#[tokio::test]
async fn the_leases_of_a_process_that_was_killed_end_at_once() {
    let test = testkit::database().await;
    let (killed, mut tasks) = process(&test, "killed").await;
    let (_living, _tasks) = process(&test, "living").await;
    let holder = test.database.process();
    let mut db = test.database.acquire().await.expect("a connection");
    let mut take = async |name| {
        let lease = leases::acquire(&mut db, name, holder, HOUR).await;
        lease.expect("an answer").is_some()
    };
    assert!(!take("killed").await && !take("living").await);
    tasks.shutdown().await;
    killed.database.close().await;
    while !take("killed").await {
        tokio::task::yield_now().await;
    }
    assert!(!take("living").await);
}

#[tokio::test]
async fn a_process_that_was_disconnected_registers_again() {
    let test = testkit::database().await;
    let (first, _tasks) = process(&test, "first").await;
    let mut events = first.database.subscribe();
    test.disconnect().await;
    assert!(matches!(events.next().await, Some(PeerEvent::Resync)));
    let mut db = first.database.acquire().await.expect("a connection");
    let holder = first.database.process();
    // Meanwhile the lease may have been ended by another process, or by this one.
    let lease = leases::acquire(&mut db, "second", holder, HOUR).await;
    lease.expect("an answer").expect("a lease");
    let (_other, _others) = process(&test, "third").await;
    let (killed, mut tasks) = process(&test, "killed").await;
    tasks.shutdown().await;
    killed.database.close().await;
    let mut take = async |name| {
        let lease = leases::acquire(&mut db, name, test.database.process(), HOUR).await;
        lease.expect("an answer").is_some()
    };
    while !take("killed").await {
        tokio::task::yield_now().await;
    }
    assert!(!take("second").await);
}
