//! Changes of device lists: of users who share a room, each once.

use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId, owned_user_id};
use storage::{
    UserChange, UserChanges,
    committer::WriteSet,
    device_lists::{DeviceListChanges, changed_between},
};
use testkit::TestDatabase;
use types::StreamPosition;

use crate::support::{Room, alice};

fn bob() -> OwnedUserId {
    owned_user_id!("@bob:test.localhost")
}

async fn commit(test: &TestDatabase, set: WriteSet) -> StreamPosition {
    test.committer
        .submit(set)
        .await
        .durable()
        .await
        .expect("committed")
}

/// A room with these members.
async fn room(test: &TestDatabase, members: &[&UserId]) -> Room {
    let mut room = Room::new(&test.nids).await;
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
