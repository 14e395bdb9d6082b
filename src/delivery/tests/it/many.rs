//! Many servers, half of which are gone.

use std::{collections::BTreeSet, time::Duration};

use delivery::Settings;
use ruma::OwnedServerName;
use serde_json::json;
use storage::{
    deliveries::{self, NewEdu},
    destinations,
};

use crate::support::{Process, REMOTE, Remote};

const PARALLEL: usize = 8;
/// Of the servers of a kind, those with something that is due.
const DUE: usize = 100;

/// 5,000 servers that are there, and 5,000 that are gone; of each the first are left out.
const OTHERS: &str = "
    INSERT INTO destinations (server_name) SELECT 'live' || n || '.localhost' FROM generate_series(100, 4999) AS n;
    INSERT INTO destinations (server_name, has_work, failures, failed_at, failing_since, retry_at)
    SELECT 'gone' || n || '.localhost', true, 9, now(), now(), now() + interval '1 hour' FROM generate_series(100, 4999) AS n;
    INSERT INTO queued_edus (server_name, content)
    SELECT 'gone' || n || '.localhost', '{}' FROM generate_series(100, 4999) AS n, generate_series(1, 10)";

fn name(kind: &str, number: usize) -> OwnedServerName {
    let name = format!("{kind}{number}.localhost");
    name.try_into().expect("a server name")
}

/// The settings of a server that knows where those are that something is due for.
fn settings(remote: &Remote) -> config::Federation {
    let mut settings = remote.settings();
    let here = settings.peers.get(&name_of(REMOTE)).expect("a peer");
    let here = here.clone();
    let nowhere = config::Peer {
        address: Some(name_of("127.0.0.1:9")),
        ..here.clone()
    };
    for number in 0..DUE {
        settings.peers.insert(name("live", number), here.clone());
        settings.peers.insert(name("gone", number), nowhere.clone());
    }
    settings
}

fn name_of(text: &str) -> OwnedServerName {
    text.try_into().expect("a server name")
}

#[tokio::test]
async fn what_sending_takes_does_not_grow_with_the_servers_that_are_gone() {
    let mut remote = Remote::start().await;
    let hour = Duration::from_hours(1);
    let test = testkit::database().await;
    let mut process = Process::with(test, &settings(&remote), |settings| Settings {
        parallel: PARALLEL,
        first_pause: hour,
        max_pause: hour,
        ..settings
    });
    let db = process.db.clone();
    for statement in OTHERS.split(';') {
        db.execute(statement).await;
    }
    let due = (0..DUE).flat_map(|number| [name("gone", number), name("live", number)]);
    let due = due.map(|server_name| NewEdu {
        key: None,
        content: json!({ "edu_type": "m.test", "content": { "to": server_name } }).to_string(),
        server_name,
    });
    let due: Vec<NewEdu> = due.collect();
    let mut connection = db.database.acquire().await.expect("a connection");
    let queued = deliveries::queue_edus(&mut connection, &due).await;
    queued.expect("queued");
    process.send();
    let mut received = BTreeSet::new();
    while received.len() < DUE {
        let transaction = remote.next().await;
        let load = process.delivery.load();
        assert!(load.sending <= PARALLEL && load.paused <= 5_000, "{load:?}");
        for edu in transaction.edus {
            let to = edu["content"]["to"].as_str().expect("a name").to_owned();
            assert!(received.insert(to), "sent twice");
        }
    }
    // Those that are gone are tried, and wait with the others.
    loop {
        let counts = destinations::counts(&mut connection).await.expect("counts");
        let load = process.delivery.load();
        if counts.active == 0 && load.sending == 0 && load.paused == 5_000 {
            assert_eq!((counts.failing, counts.idle), (5_000, 5_000));
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(remote.next_now().is_none());
}
