//! Whose device lists of other servers' users are cached.

use std::{collections::BTreeSet, time::Duration};

use ruma::{OwnedUserId, ServerName, owned_user_id, server_name};
use storage::{memberships, remote_device_lists};
use testkit::TestDatabase;

use crate::support::{Room, alice, commit};

fn own_name() -> &'static ServerName {
    server_name!("test.localhost")
}

/// A user whose id memberships hold escaped.
fn historical() -> OwnedUserId {
    owned_user_id!(r"@bo\b:remote.localhost")
}

/// Begins to cache the user's list; returns whether it is one that is to be read.
async fn is_tracked(test: &TestDatabase) -> bool {
    let mut db = test.database.acquire().await.expect("a connection");
    let user = historical();
    let shared = remote_device_lists::shared_rooms(&mut db, &user, own_name());
    let shares = shared.await.expect("an answer").is_some();
    let users = [user];
    let tracked = remote_device_lists::track(&mut db, &users, own_name(), Duration::ZERO);
    assert_eq!(tracked.await.expect("an answer").len(), usize::from(shares));
    let stale = remote_device_lists::claim_stale(&mut db, 10, Duration::ZERO);
    let stale = stale.await.expect("lists").into_iter();
    stale.map(|list| list.user_id).eq(shares.then(historical)) && shares
}

#[tokio::test]
async fn lists_of_users_with_a_backslash_are_cached_while_a_room_is_shared() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    commit(&test, room.next().await).await;
    commit(&test, room.member(&alice(), "join").await).await;
    assert!(!is_tracked(&test).await);
    commit(&test, room.member(&historical(), "join").await).await;
    assert!(is_tracked(&test).await);
    let untrack = async |users: &[OwnedUserId], rooms| {
        let mut tx = test.database.begin().await.expect("a transaction");
        let gone = remote_device_lists::untrack(&mut tx, users, rooms, own_name());
        let gone = gone.await.expect("an answer");
        tx.commit().await.expect("committed");
        gone
    };
    let rooms = [room.nid()];
    // Nobody has left.
    let gone = untrack(&[historical()], &rooms).await;
    assert!(gone.is_empty(), "{gone:?}");
    commit(&test, room.member(&historical(), "leave").await).await;
    assert_eq!(untrack(&[historical()], &[]).await, [historical()]);
    commit(&test, room.member(&historical(), "join").await).await;
    assert!(is_tracked(&test).await);
    commit(&test, room.member(&alice(), "leave").await).await;
    assert_eq!(untrack(&[], &rooms).await, [historical()]);
}

#[tokio::test]
async fn rooms_of_users_with_a_backslash_are_found() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    commit(&test, room.next().await).await;
    commit(&test, room.member(&historical(), "join").await).await;
    let mut db = test.database.acquire().await.expect("a connection");
    let users = [alice(), historical()];
    let rooms = memberships::joined_rooms_by_user(&mut db, &users).await;
    let rooms: Vec<_> = rooms.expect("rooms").into_iter().collect();
    assert_eq!(rooms, [(historical(), BTreeSet::from([room.nid()]))]);
    let count = memberships::joined_room_count(&mut db, &historical()).await;
    assert_eq!(count.expect("a count"), 1);
}
