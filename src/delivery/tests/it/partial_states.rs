//! Rooms whose members are not known: the servers that are said to be in them.

use std::{collections::BTreeSet, sync::Arc};

use ruma::{OwnedServerName, owned_server_name};
use serde_json::json;
use storage::{
    cluster::{Typing, TypingMessage},
    committer::WriteSet,
    destinations,
    rooms::{self, NewPartialState, Recheck, RoomHead, RoomWrite},
};
use testkit::{
    Writer,
    room::{TestRoom, commit_changes},
};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use types::EphemeralPosition;

use crate::{
    devices::{change_device, edus},
    support::{REMOTE, Remote, alice, bob, followed, idle, started},
};

async fn head(db: &Writer, room: &TestRoom) -> RoomHead {
    let mut connection = db.database.acquire().await.expect("a connection");
    let row = rooms::find(&mut connection, &room.room_id).await;
    row.expect("the database answers").expect("the room").head
}

/// Writes that parts of the state of a room are not known, or all of it is.
async fn write(
    db: &Writer,
    room: &TestRoom,
    partial: Option<NewPartialState>,
    recheck: Option<Recheck>,
) {
    let head = head(db, room).await;
    let mut next = head.clone();
    next.version.revision += 1;
    let write = RoomWrite {
        room_nid: room.room_nid,
        expected: head.version,
        next,
        events: Vec::new(),
        snapshots: Vec::new(),
        layers: None,
        create: None,
        recheck,
        partial,
    };
    let set = WriteSet {
        room: Some(write),
        ..WriteSet::default()
    };
    let written = db.committer.submit(set).await.durable().await;
    written.expect("the write is committed");
}

/// A room of which only this server's user is known, and these servers are said to be in.
async fn partial(db: &Writer, servers: &[OwnedServerName]) -> TestRoom {
    let room = TestRoom::create(db, &alice()).await;
    let head = head(db, &room).await;
    let servers: BTreeSet<OwnedServerName> = servers.iter().cloned().collect();
    let partial = NewPartialState {
        join_nid: head.version.extremities[0],
        via: owned_server_name!("remote.localhost"),
        servers: Arc::new(servers),
    };
    write(db, &room, Some(partial), None).await;
    room
}

/// The whole state of a room becomes known; these servers were in it without being believed to be.
async fn complete(db: &Writer, room: &TestRoom, missed: &[OwnedServerName]) {
    let recheck = Recheck {
        events: Vec::new(),
        delta: Vec::new(),
        missed: missed.to_vec(),
    };
    write(db, room, None, Some(recheck)).await;
}

#[tokio::test]
async fn events_and_receipts_go_to_stated_servers_until_the_members_are_known() {
    let mut remote = Remote::start().await;
    let (process, known) = started(&remote).await;
    let db = &process.db;
    let remote_name = owned_server_name!("remote.localhost");
    let room = partial(db, &[remote_name]).await;
    let event_id = room.message(db, &alice(), "stated").await;
    assert_eq!(remote.messages_until("stated").await, ["stated"]);
    let receipt = room
        .receipt(db, &alice(), "m.read", "main", &event_id)
        .await;
    commit_changes(db, [receipt]).await;
    let receipts = edus(&mut remote, "m.receipt", 1).await;
    assert!(receipts[0].get(room.room_id.as_str()).is_some());
    idle(db).await;
    complete(db, &room, &[]).await;
    room.message(db, &alice(), "unheard").await;
    known.message(db, &alice(), "last").await;
    assert_eq!(remote.messages_until("last").await, ["last"]);
}

#[tokio::test]
async fn typing_users_are_told_to_stated_servers() {
    let mut remote = Remote::start().await;
    let (mut process, _) = started(&remote).await;
    let db = process.db.clone();
    let room = partial(&db, &[owned_server_name!("remote.localhost")]).await;
    let (sender, notices) = mpsc::channel(10);
    let (delivery, notices) = (process.delivery.clone(), Mutex::new(notices));
    process.spawn(async move {
        let Ok(()) = delivery
            .send_typing(&notices, CancellationToken::new())
            .await;
    });
    let notice = TypingMessage {
        process: 1,
        room_nid: room.room_nid,
        user_id: alice(),
        typing: Typing::Started,
        position: EphemeralPosition::default(),
    };
    sender.send(notice).await.expect("sent");
    assert_eq!(
        edus(&mut remote, "m.typing", 1).await,
        [json!({ "room_id": room.room_id, "user_id": alice(), "typing": true })]
    );
}

#[tokio::test]
async fn changes_of_devices_go_to_stated_servers() {
    let mut remote = Remote::start().await;
    let (process, known) = started(&remote).await;
    let db = &process.db;
    known.member(db, &bob(), &bob(), "leave").await;
    // Before there are devices: the other server shared a room.
    followed(db).await;
    partial(db, &[owned_server_name!("remote.localhost")]).await;
    change_device(db, &alice(), "PHONE", Some("one")).await;
    let update = edus(&mut remote, "m.device_list_update", 1).await.remove(0);
    assert_eq!(update["user_id"], alice().as_str());
    assert_eq!(update["device_id"], "PHONE");
}

#[tokio::test]
async fn servers_that_were_not_believed_to_be_in_the_room_learn_of_devices_when_its_members_are_known()
 {
    let mut remote = Remote::start().await;
    let (process, known) = started(&remote).await;
    let db = &process.db;
    known.member(db, &bob(), &bob(), "leave").await;
    // Before there are devices: the other server shared a room.
    followed(db).await;
    let room = partial(db, &[]).await;
    change_device(db, &alice(), "PHONE", Some("one")).await;
    followed(db).await;
    let mut connection = db.database.acquire().await.expect("a connection");
    let counts = destinations::counts(&mut connection).await.expect("counts");
    assert_eq!(counts.idle + counts.active + counts.failing, 0);
    drop(connection);
    complete(db, &room, &[REMOTE.try_into().expect("a name")]).await;
    let update = edus(&mut remote, "m.device_list_update", 1).await.remove(0);
    assert_eq!(update["user_id"], alice().as_str());
    assert_eq!(update["device_id"], "PHONE");
}
