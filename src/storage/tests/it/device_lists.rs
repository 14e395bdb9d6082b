//! Changes of device lists: of users who share a room, each once.

use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId, owned_user_id};
use storage::{
    StoredEvent, UserChange, UserChanges,
    committer::WriteSet,
    device_lists::{DeviceListChanges, changed_between},
    events,
    stream::StateChange,
};
use testkit::TestDatabase;
use types::StreamPosition;

use crate::support::{Room, alice, commit, delta};

fn bob() -> OwnedUserId {
    owned_user_id!("@bob:test.localhost")
}

/// A room with these members.
async fn room(test: &TestDatabase, members: &[&UserId]) -> Room {
    let mut room = Room::new(test).await;
    commit(test, room.next().await).await;
    for member in members {
        commit(test, room.member(member, "join").await).await;
    }
    room
}

async fn update(test: &TestDatabase, user_id: OwnedUserId) -> StreamPosition {
    let changes = UserChanges::from_iter([UserChange::DeviceList { user_id }]);
    commit(
        test,
        WriteSet {
            changes,
            ..WriteSet::default()
        },
    )
    .await
}

/// The changes for Alice until now.
async fn changes_for_alice(test: &TestDatabase, from: StreamPosition) -> DeviceListChanges {
    changes_between(test, from, test.database.committed()).await
}

/// The changes for Alice.
async fn changes_between(
    test: &TestDatabase,
    from: StreamPosition,
    to: StreamPosition,
) -> DeviceListChanges {
    let mut db = test.database.acquire().await.expect("a connection");
    changed_between(&mut db, &alice(), from, to)
        .await
        .expect("changes")
}

fn changed(user_ids: impl IntoIterator<Item = OwnedUserId>) -> DeviceListChanges {
    DeviceListChanges {
        changed: user_ids.into_iter().collect(),
        left: BTreeSet::new(),
    }
}

fn left(user_ids: impl IntoIterator<Item = OwnedUserId>) -> DeviceListChanges {
    DeviceListChanges {
        left: user_ids.into_iter().collect(),
        changed: BTreeSet::new(),
    }
}

#[tokio::test]
async fn device_list_updates_go_to_the_user_and_to_those_who_share_a_room() {
    let test = testkit::database().await;
    room(&test, &[&alice(), &bob()]).await;
    let from = test.database.committed();
    update(&test, owned_user_id!("@stranger:test.localhost")).await;
    assert_eq!(
        changes_for_alice(&test, from).await,
        DeviceListChanges::default()
    );
    update(&test, bob()).await;
    let after_bob = update(&test, alice()).await;
    assert_eq!(
        changes_for_alice(&test, from).await,
        changed([alice(), bob()])
    );
    assert_eq!(
        changes_for_alice(&test, after_bob).await,
        DeviceListChanges::default()
    );
}

#[tokio::test]
async fn user_signatures_are_visible_to_the_signer_only() {
    let test = testkit::database().await;
    room(&test, &[&alice(), &bob()]).await;
    let from = test.database.committed();
    for (signer, user_id) in [(bob(), alice()), (alice(), bob())] {
        let changes = UserChanges::from_iter([UserChange::UserSigned { signer, user_id }]);
        commit(
            &test,
            WriteSet {
                changes,
                ..WriteSet::default()
            },
        )
        .await;
    }
    assert_eq!(changes_for_alice(&test, from).await, changed([bob()]));
}

#[tokio::test]
async fn users_in_newly_shared_rooms_have_changed() {
    let test = testkit::database().await;
    let mut of_alice = room(&test, &[&alice()]).await;
    let mut of_bob = room(&test, &[&bob()]).await;
    let from = test.database.committed();
    commit(&test, of_alice.member(&bob(), "join").await).await;
    assert_eq!(changes_for_alice(&test, from).await, changed([bob()]));
    // They share a room already.
    let from = test.database.committed();
    commit(&test, of_bob.member(&alice(), "join").await).await;
    assert_eq!(
        changes_for_alice(&test, from).await,
        DeviceListChanges::default()
    );
}

#[tokio::test]
async fn later_changes_are_for_the_next_call() {
    let test = testkit::database().await;
    let mut room = room(&test, &[&alice(), &bob()]).await;
    let mut positions = vec![test.database.committed()];
    for (user_id, membership) in [
        (bob(), "leave"),
        (bob(), "join"),
        (alice(), "leave"),
        (alice(), "join"),
        (bob(), "leave"),
    ] {
        positions.push(commit(&test, room.member(&user_id, membership).await).await);
    }
    let expected = [
        left([bob()]),
        changed([bob()]),
        left([bob()]),
        changed([alice(), bob()]),
        left([bob()]),
    ];
    for (step, expected) in positions.windows(2).zip(expected) {
        let changes = changes_between(&test, step[0], step[1]).await;
        assert_eq!(changes, expected, "{step:?}");
        let none = changes_between(&test, step[0], step[0]).await;
        assert_eq!(none, DeviceListChanges::default());
    }
    let all = changes_between(&test, positions[0], positions[5]).await;
    assert_eq!(all, left([bob()]));
}

#[tokio::test]
async fn joining_a_room_changes_its_members() {
    let test = testkit::database().await;
    let mut room = room(&test, &[&bob()]).await;
    let from = test.database.committed();
    commit(&test, room.member(&alice(), "invite").await).await;
    assert_eq!(
        changes_for_alice(&test, from).await,
        DeviceListChanges::default()
    );
    commit(&test, room.member(&alice(), "join").await).await;
    assert_eq!(
        changes_for_alice(&test, from).await,
        changed([alice(), bob()])
    );
}

#[tokio::test]
async fn users_who_no_longer_share_a_room_have_left() {
    for leaver in [alice(), bob()] {
        let test = testkit::database().await;
        let mut first = room(&test, &[&alice(), &bob()]).await;
        let mut second = room(&test, &[&alice(), &bob()]).await;
        let from = test.database.committed();
        commit(&test, first.member(&leaver, "leave").await).await;
        assert_eq!(
            changes_for_alice(&test, from).await,
            DeviceListChanges::default()
        );
        let from = test.database.committed();
        commit(&test, second.member(&leaver, "ban").await).await;
        assert_eq!(changes_for_alice(&test, from).await, left([bob()]));
        let from = test.database.committed();
        update(&test, bob()).await;
        assert_eq!(
            changes_for_alice(&test, from).await,
            DeviceListChanges::default()
        );
    }
}

#[tokio::test]
async fn a_new_profile_is_not_a_new_member() {
    let test = testkit::database().await;
    let mut room = room(&test, &[&alice(), &bob()]).await;
    let from = test.database.committed();
    commit(&test, room.member(&bob(), "join").await).await;
    commit(&test, room.member(&alice(), "join").await).await;
    assert_eq!(
        changes_for_alice(&test, from).await,
        DeviceListChanges::default()
    );
}

#[tokio::test]
async fn a_user_who_left_and_came_back_is_still_there() {
    let test = testkit::database().await;
    let mut room = room(&test, &[&alice(), &bob()]).await;
    let from = test.database.committed();
    commit(&test, room.member(&bob(), "leave").await).await;
    let between = update(&test, bob()).await;
    commit(&test, room.member(&bob(), "join").await).await;
    assert_eq!(changes_for_alice(&test, from).await, changed([bob()]));
    assert_eq!(changes_for_alice(&test, between).await, changed([bob()]));
}

#[tokio::test]
async fn a_member_known_from_the_state_of_another_server_leaves() {
    let test = testkit::database().await;
    let mut room = room(&test, &[&alice()]).await;
    // Bob's join is an outlier: it has no position.
    let mut join = room.clone().member(&bob(), "join").await;
    let change = delta(&mut join)[0].clone();
    let joined = join.room.and_then(|mut room| room.events.pop());
    let outlier = StoredEvent {
        snapshot_nid: None,
        ..joined.expect("an event").event
    };
    let mut db = test.database.acquire().await.expect("a connection");
    let stored = events::insert_outliers(&mut db, &[outlier]).await;
    assert_eq!(stored.expect("stored"), 1);
    let before = test.database.committed();
    let mut set = room.next().await;
    *delta(&mut set) = vec![change.clone()];
    let imported = commit(&test, set).await;
    let mut leave = room.member(&bob(), "leave").await;
    delta(&mut leave)[0].from = change.to;
    let last = commit(&test, leave).await;

    assert_eq!(
        changes_between(&test, before, imported).await,
        changed([bob()])
    );
    assert_eq!(changes_between(&test, imported, last).await, left([bob()]));
}

#[tokio::test]
async fn a_leave_that_lost_state_resolution_changes_nothing() {
    let test = testkit::database().await;
    let mut room = room(&test, &[&alice()]).await;
    let mut join = room.member(&bob(), "join").await;
    let joined = delta(&mut join)[0].to.clone();
    let start = commit(&test, join).await;
    // It is accepted in its branch, but the resolved state has the join.
    let mut leave = room.member(&bob(), "leave").await;
    delta(&mut leave).clear();
    let lost = commit(&test, leave).await;
    let mut leave = room.member(&bob(), "leave").await;
    delta(&mut leave)[0].from = joined;
    let last = commit(&test, leave).await;

    assert_eq!(
        changes_between(&test, start, lost).await,
        DeviceListChanges::default()
    );
    assert_eq!(changes_between(&test, lost, last).await, left([bob()]));
}

#[tokio::test]
async fn members_that_vanish_from_the_state_leave() {
    let test = testkit::database().await;
    let mut room = room(&test, &[&alice()]).await;
    let mut join = room.member(&bob(), "join").await;
    let joined = delta(&mut join)[0].clone();
    let start = commit(&test, join).await;
    let mut set = room.next().await;
    *delta(&mut set) = vec![StateChange {
        key: joined.key,
        from: joined.to.clone(),
        to: None,
    }];
    let vanished = commit(&test, set).await;
    assert_eq!(changes_between(&test, start, vanished).await, left([bob()]));
    let mut set = room.next().await;
    *delta(&mut set) = vec![StateChange {
        from: None,
        ..joined
    }];
    let returned = commit(&test, set).await;
    assert_eq!(
        changes_between(&test, vanished, returned).await,
        changed([bob()])
    );
    assert_eq!(
        changes_between(&test, start, returned).await,
        DeviceListChanges::default()
    );
}

#[tokio::test]
async fn device_list_changes_of_users_with_a_backslash_are_returned() {
    let test = testkit::database().await;
    let historical = owned_user_id!(r"@bo\b:test.localhost");
    let mut room = room(&test, &[&alice()]).await;
    let start = test.database.committed();
    let joined = commit(&test, room.member(&historical, "join").await).await;
    let updated = update(&test, historical.clone()).await;
    let last = commit(&test, room.member(&historical, "leave").await).await;
    let expected = || changed([historical.clone()]);
    assert_eq!(changes_between(&test, start, joined).await, expected());
    // Judged by who shares a room now.
    assert_eq!(
        changes_between(&test, joined, updated).await,
        DeviceListChanges::default()
    );
    commit(&test, room.member(&historical, "join").await).await;
    assert_eq!(changes_between(&test, joined, updated).await, expected());
    let all = changes_between(&test, updated, last).await;
    assert_eq!(all, left([historical]));
}
