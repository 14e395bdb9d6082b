//! To-device messages, changed devices and keys, and typing users.

use std::sync::Arc;

use ruma::{OwnedUserId, UserId, owned_server_name, owned_user_id};
use serde_json::{Value, json};
use storage::{
    UserChange,
    cluster::{Typing, TypingMessage},
    deliveries, destinations,
    stream::{OutgoingToDevice, ToDeviceTransaction},
};
use testkit::{
    Writer,
    room::{TestRoom, commit_changes},
};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use types::EphemeralPosition;

use crate::support::{Answer, Process, Remote, alice, bob, followed, idle, joined, started};

/// A message to a device of the other server's user, from a request of that id.
fn message(transaction_id: &str, content: &str) -> UserChange {
    let messages = json!({ bob(): { "PHONE": { "text": content } } });
    UserChange::OutgoingToDevice(OutgoingToDevice {
        server_name: owned_server_name!("remote.localhost"),
        sender: alice(),
        event_type: "m.test".to_owned(),
        messages: messages.to_string().into(),
        transaction: Some(Arc::new(ToDeviceTransaction {
            device_id: "LAPTOP".into(),
            transaction_id: transaction_id.into(),
            sent_ts: 1_000_000_000,
        })),
    })
}

/// The contents of the next EDUs of a type, as many as are asked for.
pub(crate) async fn edus(remote: &mut Remote, edu_type: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    while found.len() < count {
        let transaction = remote.next().await;
        assert!(transaction.edus.len() <= 100);
        let edus = transaction.edus.into_iter();
        let edus = edus.filter(|edu| edu["edu_type"] == edu_type);
        found.extend(edus.map(|mut edu| edu["content"].take()));
    }
    found
}

fn text(message: &Value) -> &str {
    let content = &message["messages"][bob().as_str()]["PHONE"];
    content["text"].as_str().expect("a text")
}

#[tokio::test]
async fn messages_to_devices_are_sent_once_in_order_with_ids_of_their_own() {
    let mut remote = Remote::start().await;
    remote.answer(Answer::Fail);
    let mut process = Process::new(testkit::database().await, &remote);
    let db = process.db.clone();
    joined(&db).await;
    // Nobody follows yet.
    let expected: Vec<String> = (0..130).map(|number| number.to_string()).collect();
    for number in &expected {
        commit_changes(&db, [message(number, number)]).await;
        commit_changes(&db, [message(number, number)]).await;
    }
    process.start();
    // Refused at first, then sent as it was.
    let mut last = remote.next().await;
    assert_eq!(last.edus.len(), 100);
    assert_eq!(remote.next().await, last);
    remote.answer(Answer::Accept);
    let mut received = last.edus.clone();
    while received.len() < expected.len() {
        let next = remote.next().await;
        if next != last {
            received.extend(next.edus.clone());
            last = next;
        }
    }
    let received: Vec<&Value> = received.iter().map(|edu| &edu["content"]).collect();
    let texts: Vec<&str> = received.iter().map(|message| text(message)).collect();
    assert_eq!(texts, expected);
    let mut ids: Vec<String> = received
        .iter()
        .map(|message| message["message_id"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), expected.len());
    assert!(ids.iter().all(|id| id.len() <= 32));
    assert_eq!(received[0]["sender"], alice().as_str());
    assert_eq!(received[0]["type"], "m.test");
    idle(&db).await;
}

#[tokio::test]
async fn a_transaction_stays_below_a_megabyte() {
    let mut remote = Remote::start().await;
    let mut process = Process::new(testkit::database().await, &remote);
    let db = process.db.clone();
    joined(&db).await;
    let text = "x".repeat(150 * 1024);
    for number in 0..6 {
        commit_changes(&db, [message(&number.to_string(), &text)]).await;
    }
    process.start();
    let mut left = 6;
    while left > 0 {
        let transaction = remote.next().await;
        assert!(transaction.edus.len() <= 2);
        left -= transaction.edus.len();
    }
}

/// Changes a device of a user of this server, as a client does.
pub(crate) async fn change_device(
    db: &Writer,
    user_id: &UserId,
    device_id: &str,
    name: Option<&str>,
) {
    let mut connection = db.database.acquire().await.expect("a connection");
    if let Some(name) = name {
        let inserted =
            storage::devices::insert(&mut connection, user_id, device_id.into(), Some(name), 0);
        if !inserted.await.expect("a device") {
            let renamed =
                storage::devices::rename(&mut connection, user_id, device_id.into(), name);
            renamed.await.expect("renamed");
        }
        let keys = json!({ "device_id": device_id }).to_string();
        let stored =
            storage::device_keys::replace(&mut connection, user_id, device_id.into(), &keys);
        stored.await.expect("stored");
    } else {
        let device_ids = [device_id.into()];
        let deleted = storage::devices::delete(&mut connection, user_id, &device_ids);
        deleted.await.expect("deleted");
    }
    drop(connection);
    let user_id = user_id.to_owned();
    commit_changes(db, [UserChange::DeviceList { user_id }]).await;
}

#[tokio::test]
async fn changes_of_devices_are_told_as_a_sequence_to_servers_that_share_a_room() {
    let mut remote = Remote::start().await;
    let (process, _) = started(&remote).await;
    let db = &process.db;
    // Carol shares no room with the other server.
    change_device(
        db,
        &owned_user_id!("@carol:test.localhost"),
        "CAROL",
        Some("none"),
    )
    .await;
    let mut updates = Vec::new();
    for name in [Some("one"), Some("two"), None] {
        change_device(db, &alice(), "PHONE", name).await;
        updates.extend(edus(&mut remote, "m.device_list_update", 1).await);
        idle(db).await;
    }
    let stream_id = |update: &Value| update["stream_id"].as_i64().expect("a number");
    assert_eq!(updates[0]["user_id"], alice().as_str());
    assert_eq!(updates[0]["device_id"], "PHONE");
    assert_eq!(updates[0]["device_display_name"], "one");
    assert_eq!(updates[0]["keys"], json!({ "device_id": "PHONE" }));
    assert_eq!(updates[0]["prev_id"], Value::Null);
    assert_eq!(updates[1]["device_display_name"], "two");
    assert_eq!(updates[1]["prev_id"], json!([stream_id(&updates[0])]));
    assert_eq!(updates[2]["deleted"], true);
    assert_eq!(updates[2]["keys"], Value::Null);
    assert_eq!(updates[2]["prev_id"], json!([stream_id(&updates[1])]));
    assert!(updates.is_sorted_by_key(stream_id));
    // What is not news is not told.
    commit_changes(db, [UserChange::DeviceList { user_id: alice() }]).await;
    followed(db).await;
    change_device(db, &alice(), "TABLET", Some("three")).await;
    let update = edus(&mut remote, "m.device_list_update", 1).await.remove(0);
    assert_eq!(update["prev_id"], json!([stream_id(&updates[2])]));
}

#[tokio::test]
async fn a_server_that_was_away_gets_the_last_change_of_each_user() {
    let mut remote = Remote::start().await;
    remote.answer(Answer::Fail);
    let (process, room) = started(&remote).await;
    let db = &process.db;
    room.message(db, &alice(), "one").await;
    remote.next().await;
    for number in 0..5 {
        change_device(db, &alice(), &format!("D{number}"), Some("name")).await;
    }
    room.message(db, &alice(), "two").await;
    while queued(db).await < 2 {
        tokio::task::yield_now().await;
    }
    remote.answer(Answer::Accept);
    let updates = edus(&mut remote, "m.device_list_update", 1).await;
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0]["device_id"], "D4");
    assert_eq!(updates[0]["prev_id"].as_array().expect("a list").len(), 1);
    idle(db).await;
}

/// Whether the last transaction for the other server has failed.
async fn is_failing(db: &Writer) -> bool {
    let mut connection = db.database.acquire().await.expect("a connection");
    let counts = destinations::counts(&mut connection).await;
    counts.expect("counts").failing > 0
}

/// How many events wait for the other server.
async fn queued(db: &Writer) -> i64 {
    let mut connection = db.database.acquire().await.expect("a connection");
    let queued = destinations::queued_pdus(
        &mut connection,
        "remote.localhost".try_into().expect("a name"),
    );
    queued.await.expect("a count")
}

#[tokio::test]
async fn a_server_that_gets_to_share_a_room_is_told_of_the_last_change() {
    let mut remote = Remote::start().await;
    let (process, room) = started(&remote).await;
    let db = &process.db;
    let dave: OwnedUserId = owned_user_id!("@dave:test.localhost");
    change_device(db, &dave, "PHONE", Some("one")).await;
    // Else the change may be told to the room that is joined next.
    followed(db).await;
    room.member(db, &dave, &dave, "join").await;
    let update = edus(&mut remote, "m.device_list_update", 1).await.remove(0);
    assert_eq!(update["user_id"], dave.as_str());
    assert_eq!(update["device_id"], "PHONE");
    followed(db).await;
    idle(db).await;
    // Shared already: another room is no news.
    let other = joined(db).await;
    other.member(db, &dave, &dave, "join").await;
    other.message(db, &dave, "last").await;
    loop {
        let transaction = remote.next().await;
        let edus = &transaction.edus;
        let told = |edu: &Value| edu["content"]["user_id"] == dave.as_str();
        assert!(!edus.iter().any(told), "{edus:?}");
        if transaction.messages() == ["last"] {
            return;
        }
    }
}

#[tokio::test]
async fn new_cross_signing_keys_are_told() {
    let mut remote = Remote::start().await;
    let (process, _) = started(&remote).await;
    let db = &process.db;
    let mut connection = db.database.acquire().await.expect("a connection");
    for (usage, name) in [
        ("master", "m"),
        ("self_signing", "s"),
        ("user_signing", "u"),
    ] {
        let key = storage::cross_signing::CrossSigningKey {
            user_id: alice(),
            usage: usage.into(),
            public_key: name.to_owned(),
            key: json!({ "usage": [usage] }).to_string(),
        };
        let stored = storage::cross_signing::replace(&mut connection, &key).await;
        stored.expect("stored");
    }
    let signature = storage::cross_signing::MasterKeySignature {
        user_id: alice(),
        public_key: "m".to_owned(),
        signer: alice(),
        signer_key: "ed25519:PHONE".to_owned(),
        signature: "signed".to_owned(),
    };
    let added = storage::cross_signing::add_signature(&mut connection, &signature).await;
    added.expect("added");
    drop(connection);
    commit_changes(db, [UserChange::DeviceList { user_id: alice() }]).await;
    let keys = edus(&mut remote, "m.signing_key_update", 1).await.remove(0);
    let expected = json!({
        "user_id": alice(),
        "master_key": {
            "usage": ["master"],
            "signatures": { alice(): { "ed25519:PHONE": "signed" } },
        },
        "self_signing_key": { "usage": ["self_signing"] },
    });
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn typing_users_are_told_to_servers_that_can_be_reached() {
    let mut remote = Remote::start().await;
    let (mut process, room) = started(&remote).await;
    let db = process.db.clone();
    let (sender, notices) = mpsc::channel(10);
    let (delivery, notices) = (process.delivery.clone(), Mutex::new(notices));
    process.spawn(async move {
        let Ok(()) = delivery
            .send_typing(&notices, CancellationToken::new())
            .await;
    });
    let notice = |user_id: OwnedUserId, typing| TypingMessage {
        process: 1,
        room_nid: room.room_nid,
        user_id,
        typing,
        position: EphemeralPosition::default(),
    };
    // Not this server's to tell.
    sender
        .send(notice(bob(), Typing::Started))
        .await
        .expect("sent");
    for (typing, expected) in [(Typing::Started, true), (Typing::Ended, false)] {
        sender.send(notice(alice(), typing)).await.expect("sent");
        let told = edus(&mut remote, "m.typing", 1).await;
        assert_eq!(
            told,
            [json!({ "room_id": room.room_id, "user_id": alice(), "typing": expected })]
        );
        idle(&db).await;
    }
    // A room whose ACL keeps the server out.
    let closed = joined(&db).await;
    let acl = json!({ "allow": ["*"], "deny": ["remote.localhost"] });
    closed
        .state(&db, &alice(), "m.room.server_acl", "", acl)
        .await;
    let unheard = TypingMessage {
        room_nid: closed.room_nid,
        ..notice(alice(), Typing::Started)
    };
    sender.send(unheard).await.expect("sent");
    sender
        .send(notice(alice(), Typing::Ended))
        .await
        .expect("sent");
    let told = edus(&mut remote, "m.typing", 1).await;
    assert_eq!(told[0]["room_id"], room.room_id.as_str());
}

#[tokio::test]
async fn typing_in_a_room_without_other_servers_costs_one_statement() {
    let remote = Remote::start().await;
    let process = Process::new(testkit::database().await, &remote);
    let room = TestRoom::create(&process.db, &alice()).await;
    let (sender, notices) = mpsc::channel(10);
    let notice = TypingMessage {
        process: 1,
        room_nid: room.room_nid,
        user_id: alice(),
        typing: Typing::Started,
        position: EphemeralPosition::default(),
    };
    sender.send(notice).await.expect("sent");
    drop(sender);
    let notices = Mutex::new(notices);
    let sending = process
        .delivery
        .send_typing(&notices, CancellationToken::new());
    let (Ok(()), statements) = testkit::queries_of(sending).await;
    assert_eq!(statements.len(), 1, "{statements:?}");
}

#[tokio::test]
async fn nothing_that_expires_is_kept_for_a_server_that_fails() {
    let mut remote = Remote::start().await;
    let (process, room) = started(&remote).await;
    let db = process.db.clone();
    remote.answer(Answer::Fail);
    room.message(&db, &alice(), "one").await;
    while !is_failing(&db).await {
        tokio::task::yield_now().await;
    }
    let ephemeral = vec![deliveries::NewEdu {
        server_name: owned_server_name!("remote.localhost"),
        key: Some("m.typing".to_owned()),
        content: json!({ "edu_type": "m.typing", "content": {} }).to_string(),
    }];
    let mut connection = db.database.acquire().await.expect("a connection");
    let lifetime = std::time::Duration::from_mins(10);
    let queued = deliveries::queue_ephemeral_edus(&mut connection, ephemeral, lifetime).await;
    queued.expect("queued");
    drop(connection);
    remote.answer(Answer::Accept);
    room.message(&db, &alice(), "two").await;
    loop {
        let transaction = remote.next().await;
        assert!(transaction.edus.is_empty());
        if transaction.messages().contains(&"two".to_owned()) {
            return;
        }
    }
}
