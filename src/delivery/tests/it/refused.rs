//! Transactions that another server refuses as a whole.

use ruma::owned_server_name;
use serde_json::{Value, json};
use storage::{UserChange, destinations, stream::OutgoingToDevice};
use testkit::room::commit_changes;

use crate::support::{Answer, Process, Remote, Transaction, alice, bob, idle, joined};

/// A message to a device of the other server's user.
fn message(text: &str) -> UserChange {
    let messages = json!({ bob(): { "PHONE": { "text": text } } });
    UserChange::OutgoingToDevice(OutgoingToDevice {
        server_name: owned_server_name!("remote.localhost"),
        sender: alice(),
        event_type: "m.test".to_owned(),
        messages: messages.to_string().into(),
        transaction: None,
    })
}

/// The texts of the messages to devices in a transaction.
fn texts(transaction: &Transaction) -> Vec<String> {
    let text = |edu: &Value| {
        let content = &edu["content"]["messages"][bob().as_str()]["PHONE"];
        content["text"].as_str().map(ToOwned::to_owned)
    };
    transaction.edus.iter().filter_map(text).collect()
}

fn is_refused(transaction: &Transaction) -> bool {
    let edus = transaction.edus.iter();
    edus.chain(&transaction.pdus)
        .any(|item| item.to_string().contains("poison"))
}

#[tokio::test]
async fn of_a_refused_transaction_only_what_is_refused_alone_is_given_up() {
    let mut remote = Remote::start().await;
    remote.answer(Answer::Refuse("poison"));
    let mut process = Process::new(testkit::database().await, &remote);
    let db = process.db.clone();
    let room = joined(&db).await;
    for body in ["one", "poison", "two"] {
        room.message(&db, &alice(), body).await;
    }
    let sent: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for text in &sent {
        commit_changes(&db, [message(text)]).await;
        if ["7", "8", "29"].contains(&text.as_str()) {
            commit_changes(&db, [message("poison")]).await;
        }
    }
    process.start();
    idle(&db).await;
    let (mut bodies, mut received, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(transaction) = remote.next_now() {
        ids.push(transaction.id.clone());
        if !is_refused(&transaction) {
            bodies.extend(transaction.messages());
            received.extend(texts(&transaction));
        }
    }
    assert_eq!(bodies, ["one", "two"]);
    assert_eq!(received, sent);
    // What is not the same has another id.
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test]
async fn what_is_for_a_server_that_refuses_whatever_it_is_sent_is_kept() {
    let mut remote = Remote::start().await;
    // It is in every transaction.
    remote.answer(Answer::Refuse("origin"));
    let mut process = Process::new(testkit::database().await, &remote);
    let db = process.db.clone();
    let room = joined(&db).await;
    room.message(&db, &alice(), "one").await;
    for text in ["a", "b"] {
        commit_changes(&db, [message(text)]).await;
    }
    process.start();
    loop {
        let mut connection = db.database.acquire().await.expect("a connection");
        let counts = destinations::counts(&mut connection).await;
        if counts.expect("counts").failing > 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    remote.answer(Answer::Accept);
    // The first event alone is what was refused last: it is sent again, and then the rest.
    let mut is_repeated = false;
    loop {
        let transaction = remote.next().await;
        is_repeated |= transaction.messages() == ["one"] && transaction.edus.is_empty();
        if transaction.pdus.is_empty() && texts(&transaction) == ["a", "b"] {
            break;
        }
    }
    assert!(is_repeated);
    idle(&db).await;
}
