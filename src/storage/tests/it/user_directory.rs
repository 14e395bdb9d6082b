//! Whom searches for users find.

use ruma::{OwnedUserId, UserId, owned_user_id};
use storage::{
    Connection,
    user_directory::{self, DirectoryEntry, DirectoryQuery, remove, set, set_open_rooms},
};
use types::RoomNid;

use crate::support::{Room, alice, commit};

fn bob() -> OwnedUserId {
    owned_user_id!("@bob:test.localhost")
}

fn carol() -> OwnedUserId {
    owned_user_id!("@carol:remote.localhost")
}

fn entry(user_id: &UserId, name: &str) -> DirectoryEntry {
    DirectoryEntry {
        user_id: user_id.to_owned(),
        display_name: Some(name.to_owned()),
        avatar_url: None,
    }
}

/// The names of those who are found.
async fn found(db: &mut Connection, searcher: &UserId, term: &str) -> Vec<String> {
    let query = DirectoryQuery {
        searcher,
        term,
        all_local: true,
        limit: 10,
    };
    let found = user_directory::search(db, query).await;
    let (found, limited) = found.expect("found");
    assert!(!limited);
    let names = found.into_iter().filter_map(|entry| entry.display_name);
    names.collect()
}

#[tokio::test]
async fn users_of_other_servers_are_found_in_rooms_that_the_searcher_may_read() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    commit(&test, room.next().await).await;
    commit(&test, room.member(&alice(), "join").await).await;
    let mut db = test.database.acquire().await.expect("a connection");
    let (here, elsewhere) = (room.nid(), RoomNid(1));
    let entries = [
        (Some(here), entry(&carol(), "Carola")),
        (Some(elsewhere), entry(&carol(), "Hidden")),
    ];
    set(&mut db, &entries).await.expect("set");
    for term in ["carola", "caro", "@carol:remote.localhost"] {
        assert_eq!(found(&mut db, &alice(), term).await, ["Carola"], "{term}");
        assert!(found(&mut db, &bob(), term).await.is_empty(), "{term}");
    }
    assert!(found(&mut db, &alice(), "hidden").await.is_empty());
    let open = async |db: &mut Connection, is_open| {
        let rooms = [(here, is_open), (elsewhere, is_open)];
        set_open_rooms(db, &rooms).await.expect("set");
    };
    open(&mut db, true).await;
    assert_eq!(found(&mut db, &bob(), "carola").await, ["Carola"]);
    // Not of a room that is not known here.
    assert!(found(&mut db, &bob(), "hidden").await.is_empty());
    open(&mut db, false).await;
    assert!(found(&mut db, &bob(), "carola").await.is_empty());
    let renamed = [(Some(here), entry(&carol(), "Linda\0 O'Hara"))];
    set(&mut db, &renamed).await.expect("set");
    assert!(found(&mut db, &alice(), "carola").await.is_empty());
    assert_eq!(found(&mut db, &alice(), "o'hara").await, ["Linda O'Hara"]);
    let gone = [(Some(here), carol())];
    remove(&mut db, &gone).await.expect("removed");
    assert!(found(&mut db, &alice(), "carol").await.is_empty());
}

#[tokio::test]
async fn users_of_this_server_come_first_and_each_user_once() {
    let test = testkit::database().await;
    let mut db = test.database.acquire().await.expect("a connection");
    let searcher = testkit::register_user(&test.database, "alice").await;
    let local = testkit::register_user(&test.database, "zoe").await;
    let mut entries = vec![
        (None, entry(&local, "Maria Z")),
        (None, entry(&searcher, "Maria")),
    ];
    let mut rooms = Vec::new();
    for _ in 0..3 {
        let mut room = Room::new(&test).await;
        commit(&test, room.next().await).await;
        entries.push((Some(room.nid()), entry(&carol(), "Maria C")));
        rooms.push((room.nid(), true));
    }
    set(&mut db, &entries).await.expect("set");
    set_open_rooms(&mut db, &rooms).await.expect("set");
    assert_eq!(
        found(&mut db, &searcher, "mária").await,
        ["Maria Z", "Maria C"]
    );
    assert_eq!(found(&mut db, &searcher, "maria c").await, ["Maria C"]);
}
