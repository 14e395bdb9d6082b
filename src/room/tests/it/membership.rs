//! Who may come, who must go.

use room::{CreateRoom, Error, MembershipChange, Preset, Profile};
use ruma::{events::room::member::MembershipState, owned_user_id, room_id};
use serde_json::{Map, json};
use types::ErrorKind;

use crate::support::{Server, alice, bob, carol, content, create, error_kind, sender};

#[tokio::test]
async fn joining_a_public_room_is_idempotent() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    server.join_room(&room_id, &bob()).await.expect("joined");
    let position = server.position().await;
    server
        .join_room(&room_id, &bob())
        .await
        .expect("joined already");
    assert_eq!(server.position().await, position, "no event was added");
    let rooms = server.joined_rooms(&bob()).await.expect("rooms");
    assert_eq!(rooms, [room_id]);
}

#[tokio::test]
async fn a_private_room_is_joined_by_invitation() {
    let server = Server::start().await;
    let room_id = server
        .create(
            &sender(&alice()),
            Profile::default(),
            create(Preset::PrivateChat),
        )
        .await
        .expect("made");
    assert_eq!(
        error_kind(server.join_room(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
    server
        .invite(&room_id, &alice(), &bob())
        .await
        .expect("invited");
    server.join_room(&room_id, &bob()).await.expect("joined");
    assert_eq!(
        error_kind(server.invite(&room_id, &alice(), &bob()).await),
        ErrorKind::Forbidden,
        "who is in the room is not invited again"
    );
    assert_eq!(
        error_kind(server.invite(&room_id, &carol(), &carol()).await),
        ErrorKind::Forbidden,
        "nobody is invited by strangers"
    );
}

#[tokio::test]
async fn an_invitation_is_turned_down_by_leaving() {
    let server = Server::start().await;
    let room_id = server
        .create(
            &sender(&alice()),
            Profile::default(),
            create(Preset::PrivateChat),
        )
        .await
        .expect("made");
    server
        .invite(&room_id, &alice(), &bob())
        .await
        .expect("invited");
    server
        .leave(&room_id, &sender(&bob()), Some("no time"))
        .await
        .expect("left");
    assert_eq!(
        error_kind(server.join_room(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
    let left = server.stored(&room_id).await.pop().expect("an event");
    assert_eq!(
        content(&left.pdu),
        json!({ "membership": "leave", "reason": "no time" })
    );
}

#[tokio::test]
async fn leaving_twice_is_no_error_and_strangers_cannot_leave() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    let position = server.position().await;
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left already");
    assert_eq!(server.position().await, position);
    let stranger = server.leave(&room_id, &sender(&carol()), None).await;
    assert!(matches!(stranger, Err(Error::NotInRoom)));
    assert_eq!(
        error_kind(server.send_text(&room_id, &bob(), "still here").await),
        ErrorKind::Forbidden
    );
}

#[tokio::test]
async fn a_kicked_user_may_come_back_to_a_public_room() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    assert_eq!(
        error_kind(
            server
                .change(&room_id, &bob(), &alice(), MembershipChange::Kick)
                .await
        ),
        ErrorKind::Forbidden,
        "without power nobody is kicked"
    );
    server
        .change(&room_id, &alice(), &bob(), MembershipChange::Kick)
        .await
        .expect("kicked");
    assert_eq!(
        error_kind(server.send_text(&room_id, &bob(), "hello").await),
        ErrorKind::Forbidden
    );
    let again = server
        .change(&room_id, &alice(), &bob(), MembershipChange::Kick)
        .await;
    assert_eq!(
        error_kind(again),
        ErrorKind::Forbidden,
        "who is not there is not kicked"
    );
    server
        .join_room(&room_id, &bob())
        .await
        .expect("joined again");
}

#[tokio::test]
async fn a_kicked_user_cannot_rejoin_an_invite_only_room() {
    let server = Server::start().await;
    let request = CreateRoom {
        invite: vec![(bob(), Profile::default())],
        ..create(Preset::PrivateChat)
    };
    let room_id = server
        .create(&sender(&alice()), Profile::default(), request)
        .await
        .expect("made");
    server.join_room(&room_id, &bob()).await.expect("joined");
    server
        .change(&room_id, &alice(), &bob(), MembershipChange::Kick)
        .await
        .expect("kicked");
    assert_eq!(
        error_kind(server.join_room(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
}

#[tokio::test]
async fn a_banned_user_stays_out_until_the_ban_is_lifted() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    server
        .change(&room_id, &alice(), &bob(), MembershipChange::Ban)
        .await
        .expect("banned");
    assert_eq!(
        error_kind(server.join_room(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
    assert_eq!(
        error_kind(server.invite(&room_id, &alice(), &bob()).await),
        ErrorKind::Forbidden
    );
    let left = server.leave(&room_id, &sender(&bob()), None).await;
    assert!(
        matches!(left, Err(Error::NotInRoom)),
        "a ban is not shaken off"
    );
    server
        .change(&room_id, &alice(), &bob(), MembershipChange::Unban)
        .await
        .expect("unbanned");
    let again = server
        .change(&room_id, &alice(), &bob(), MembershipChange::Unban)
        .await;
    assert_eq!(
        error_kind(again),
        ErrorKind::Forbidden,
        "there is no ban to lift"
    );
    server
        .join_room(&room_id, &bob())
        .await
        .expect("joined again");
}

#[tokio::test]
async fn non_members_can_be_banned() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    server
        .change(&room_id, &alice(), &bob(), MembershipChange::Ban)
        .await
        .expect("banned");
    assert_eq!(
        error_kind(server.join_room(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
}

#[tokio::test]
async fn kicks_keep_the_profile_of_the_target() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let profile = Profile {
        displayname: Some("Bob".to_owned()),
        avatar_url: Some("mxc://test.localhost/bob".to_owned()),
    };
    server
        .join(&room_id, &sender(&bob()), profile, Map::new())
        .await
        .expect("joined");
    server
        .change_membership(
            &room_id,
            &sender(&alice()),
            &bob(),
            MembershipChange::Ban,
            Some("spam"),
        )
        .await
        .expect("banned");
    let banned = server.stored(&room_id).await.pop().expect("an event");
    assert_eq!(
        content(&banned.pdu),
        json!({
            "membership": "ban", "displayname": "Bob", "avatar_url": "mxc://test.localhost/bob",
            "reason": "spam",
        })
    );
}

#[tokio::test]
async fn a_room_is_forgotten_only_after_leaving_it() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let stayed = server.forget(&room_id, &bob()).await;
    assert!(matches!(stayed, Err(Error::StillInRoom)));
    let stranger = server.forget(&room_id, &carol()).await;
    assert_eq!(error_kind(stranger), ErrorKind::NotFound);
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    server.forget(&room_id, &bob()).await.expect("forgotten");
    server
        .forget(&room_id, &bob())
        .await
        .expect("forgotten already");
    server
        .join_room(&room_id, &bob())
        .await
        .expect("joined again");
    assert!(matches!(
        server.forget(&room_id, &bob()).await,
        Err(Error::StillInRoom)
    ));
}

#[tokio::test]
async fn extra_join_content_cannot_override_server_fields() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let extra = json!({
        "membership": "ban", "displayname": "Alice", "join_authorised_via_users_server": alice(),
        "org.example.note": "hi", "reason": "curious",
    });
    let extra = extra.as_object().expect("an object").clone();
    server
        .join(&room_id, &sender(&bob()), Profile::default(), extra)
        .await
        .expect("joined");
    let joined = server.stored(&room_id).await.pop().expect("an event");
    assert_eq!(
        content(&joined.pdu),
        json!({ "membership": "join", "org.example.note": "hi", "reason": "curious" })
    );
}

#[tokio::test]
async fn a_changed_profile_shows_in_all_joined_rooms() {
    let server = Server::start().await;
    let here = server.room(&[&alice(), &bob()]).await;
    let there = server.room(&[&carol(), &bob()]).await;
    let left = server.room(&[&carol(), &bob()]).await;
    server
        .leave(&left, &sender(&bob()), None)
        .await
        .expect("left");
    let profile = Profile {
        displayname: Some("Robert".to_owned()),
        avatar_url: None,
    };
    server
        .update_profile(&sender(&bob()), &profile)
        .await
        .expect("shown");
    for room_id in [&here, &there] {
        let member = server
            .content(room_id, &bob(), "m.room.member", bob().as_str())
            .await
            .expect("the member");
        assert_eq!(
            member,
            json!({ "membership": "join", "displayname": "Robert" })
        );
    }
    let position = server.position().await;
    server
        .update_profile(&sender(&bob()), &profile)
        .await
        .expect("shown already");
    assert_eq!(server.position().await, position);
    let state = server.visible_state(&left, &carol()).await.expect("state");
    assert_eq!(state.membership(&bob()), MembershipState::Leave);
}

#[tokio::test]
async fn leaving_all_rooms_turns_down_invitations_too() {
    let server = Server::start().await;
    let joined = server.room(&[&alice(), &bob()]).await;
    let invited = server.room(&[&alice()]).await;
    server
        .invite(&invited, &alice(), &bob())
        .await
        .expect("invited");
    server.leave_all(&sender(&bob())).await.expect("left");
    for room_id in [&joined, &invited] {
        let state = server
            .visible_state(room_id, &alice())
            .await
            .expect("state");
        assert_eq!(state.membership(&bob()), MembershipState::Leave);
    }
}

#[tokio::test]
async fn rooms_and_users_of_other_servers_are_not_reached() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let stranger = owned_user_id!("@eve:elsewhere.example");
    let invited = server.invite(&room_id, &alice(), &stranger).await;
    assert!(matches!(invited, Err(Error::Federation(_))));
    let elsewhere = room_id!("!room:elsewhere.example");
    assert_eq!(
        error_kind(server.join_room(elsewhere, &alice()).await),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn strangers_do_not_learn_which_rooms_exist() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    for room_id in [&*room_id, room_id!("!nowhere:test.localhost")] {
        let left = server.leave(room_id, &sender(&carol()), None).await;
        assert!(matches!(left, Err(Error::NotInRoom)));
        for change in [
            MembershipChange::Invite {
                profile: Profile::default(),
                is_direct: false,
            },
            MembershipChange::Kick,
            MembershipChange::Ban,
            MembershipChange::Unban,
        ] {
            let changed = server.change(room_id, &carol(), &bob(), change).await;
            assert!(matches!(changed, Err(Error::NotInRoom)));
        }
    }
}
