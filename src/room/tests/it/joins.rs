//! Rooms that ask for more than a wish to join: restricted rooms and knocking.

use room::{Error, MembershipChange, Profile};
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;
use types::ErrorKind;

use crate::support::{Server, alice, bob, carol, content, error_kind, of_version, sender};

/// A room that the members of another one may join.
async fn restricted(server: &Server, version: &str, join_rule: &str, to: &RoomId) -> OwnedRoomId {
    let room_id = server
        .create(&sender(&alice()), Profile::default(), of_version(version))
        .await
        .expect("made");
    let rules = json!({
        "join_rule": join_rule,
        "allow": [{ "type": "m.room_membership", "room_id": to }],
    });
    server
        .set(&room_id, &alice(), "m.room.join_rules", rules)
        .await
        .expect("restricted");
    room_id
}

async fn allow_knocks(server: &Server, room_id: &RoomId) {
    let rules = json!({ "join_rule": "knock" });
    server
        .set(room_id, &alice(), "m.room.join_rules", rules)
        .await
        .expect("set");
}

#[tokio::test]
async fn members_of_the_named_room_join_a_restricted_room() {
    let server = Server::start().await;
    let lobby = server.room(&[&alice(), &bob()]).await;
    for (version, join_rule) in [
        ("8", "restricted"),
        ("10", "knock_restricted"),
        ("12", "restricted"),
    ] {
        let room_id = restricted(&server, version, join_rule, &lobby).await;
        server.join_room(&room_id, &bob()).await.expect("joined");
        let joined = server.stored(&room_id).await.pop().expect("an event");
        assert_eq!(
            content(&joined.pdu)["join_authorised_via_users_server"],
            alice().as_str()
        );
        let stranger = server.join_room(&room_id, &carol()).await;
        assert!(matches!(stranger, Err(Error::JoinNotGranted)));
    }
}

#[tokio::test]
async fn invited_users_join_restricted_rooms_without_other_membership() {
    let server = Server::start().await;
    let lobby = server.room(&[&alice()]).await;
    let room_id = restricted(&server, "12", "restricted", &lobby).await;
    server
        .invite(&room_id, &alice(), &carol())
        .await
        .expect("invited");
    server.join_room(&room_id, &carol()).await.expect("joined");
    let joined = server.stored(&room_id).await.pop().expect("an event");
    assert_eq!(content(&joined.pdu), json!({ "membership": "join" }));
}

#[tokio::test]
async fn banned_users_and_former_members_cannot_join_restricted_rooms() {
    let server = Server::start().await;
    let lobby = server.room(&[&alice(), &bob(), &carol()]).await;
    let room_id = restricted(&server, "12", "restricted", &lobby).await;
    server
        .change(&room_id, &alice(), &bob(), MembershipChange::Ban)
        .await
        .expect("banned");
    assert_eq!(
        error_kind(server.join_room(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
    server
        .leave(&lobby, &sender(&carol()), None)
        .await
        .expect("left");
    let outside = server.join_room(&room_id, &carol()).await;
    assert!(matches!(outside, Err(Error::JoinNotGranted)));
}

#[tokio::test]
async fn a_restricted_join_fails_without_an_authorising_user() {
    let server = Server::start().await;
    let lobby = server.room(&[&alice(), &bob()]).await;
    let room_id = restricted(&server, "12", "restricted", &lobby).await;
    server
        .leave(&room_id, &sender(&alice()), None)
        .await
        .expect("left");
    let alone = server.join_room(&room_id, &bob()).await;
    assert!(matches!(alone, Err(Error::CannotGrantJoin)));
}

#[tokio::test]
async fn a_knock_is_answered_by_an_invitation() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let profile = || Profile {
        displayname: Some("Bob".to_owned()),
        avatar_url: None,
    };
    let closed = server
        .knock(&room_id, &sender(&bob()), profile(), None)
        .await;
    assert_eq!(
        error_kind(closed),
        ErrorKind::Forbidden,
        "the room is not for knocking"
    );
    allow_knocks(&server, &room_id).await;
    server
        .knock(&room_id, &sender(&bob()), profile(), Some("let me in"))
        .await
        .expect("knocked");
    assert_eq!(
        error_kind(server.join_room(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
    let knock = server.stored(&room_id).await.pop().expect("an event");
    assert_eq!(
        content(&knock.pdu),
        json!({ "membership": "knock", "displayname": "Bob", "reason": "let me in" })
    );
    server
        .invite(&room_id, &alice(), &bob())
        .await
        .expect("invited");
    server.join_room(&room_id, &bob()).await.expect("joined");
}

#[tokio::test]
async fn a_knock_is_turned_down_or_taken_back() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    allow_knocks(&server, &room_id).await;
    for user in [bob(), carol()] {
        server
            .knock(&room_id, &sender(&user), Profile::default(), None)
            .await
            .expect("knocked");
    }
    server
        .change(&room_id, &alice(), &bob(), MembershipChange::Kick)
        .await
        .expect("turned down");
    server
        .leave(&room_id, &sender(&carol()), None)
        .await
        .expect("taken back");
    assert_eq!(
        error_kind(server.join_room(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
}

#[tokio::test]
async fn room_versions_without_knocking_know_no_knock() {
    let server = Server::start().await;
    let room_id = server
        .create(&sender(&alice()), Profile::default(), of_version("6"))
        .await
        .expect("made");
    allow_knocks(&server, &room_id).await;
    let knocked = server
        .knock(&room_id, &sender(&bob()), Profile::default(), None)
        .await;
    assert_eq!(error_kind(knocked), ErrorKind::Forbidden);
}
