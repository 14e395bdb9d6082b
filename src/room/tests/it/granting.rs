//! Users of other servers join restricted rooms here.

use std::sync::Arc;

use event::Pdu;
use room::{AcceptedJoin, Error, SentEvent};
use ruma::{OwnedRoomId, RoomId, RoomVersionId};
use serde_json::json;
use types::ErrorKind;

use crate::{
    remote::{Branch, Remote, texts},
    support::{Server, alice, bob, error_kind, sender},
};

/// A room of Alice, and another one that the members of the first may join.
async fn rooms(server: &Server, remote: &Remote) -> (OwnedRoomId, OwnedRoomId) {
    remote.introduce(server).await;
    let club = server.room(&[&alice(), &bob()]).await;
    let room_id = server.room(&[&alice()]).await;
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": club }],
    });
    let owner = alice();
    let set = server.set(&room_id, &owner, "m.room.join_rules", rules);
    set.await.expect("set");
    (club, room_id)
}

/// A join that names Alice as who lets the user in, whether she does or not.
async fn join_by_alice(server: &Server, remote: &Remote, room_id: &RoomId) -> Arc<Pdu> {
    let mut branch = Branch::of(server, room_id).await;
    let user_id = Remote::user("bob");
    let content = json!({ "membership": "join", "join_authorised_via_users_server": alice() });
    let place = ("m.room.member", Some(user_id.as_str()));
    remote.event(&mut branch, &user_id, place, &content)
}

async fn send_join(
    server: &Server,
    remote: &Remote,
    room_id: &RoomId,
) -> Result<AcceptedJoin, Error> {
    let join = join_by_alice(server, remote, room_id).await;
    let text = texts([&join]).remove(0);
    let sent = SentEvent {
        origin: &remote.name,
        room_id,
        event_id: join.event_id(),
        pdu: &text,
    };
    server.accept_join(sent, false).await
}

async fn make_join(server: &Server, remote: &Remote, room_id: &RoomId) -> Result<(), Error> {
    let user_id = Remote::user("bob");
    let versions = [RoomVersionId::V12];
    let made = server.make_join(&remote.name, room_id, &user_id, &versions);
    made.await.map(drop)
}

#[tokio::test]
async fn a_join_is_vouched_for_only_if_the_user_meets_a_condition() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (club, room_id) = rooms(&server, &remote).await;
    let made = make_join(&server, &remote, &room_id).await;
    assert_eq!(error_kind(made), ErrorKind::Forbidden);
    let joined = send_join(&server, &remote, &room_id).await;
    assert_eq!(error_kind(joined), ErrorKind::Forbidden);

    server
        .receive_join(&remote, &club, &Remote::user("bob"))
        .await;
    make_join(&server, &remote, &room_id)
        .await
        .expect("a draft");
    let joined = send_join(&server, &remote, &room_id).await;
    let joined = joined.expect("joined");
    assert!(
        joined
            .event
            .json()
            .contains("\"test.localhost\":{\"ed25519:")
    );
}

#[tokio::test]
async fn a_server_that_has_left_the_other_room_does_not_know_who_is_in_it() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (club, room_id) = rooms(&server, &remote).await;
    server
        .receive_join(&remote, &club, &Remote::user("bob"))
        .await;
    for user in [alice(), bob()] {
        let left = server.leave(&club, &sender(&user), None).await;
        left.expect("left");
    }
    let made = make_join(&server, &remote, &room_id).await;
    assert_eq!(error_kind(made), ErrorKind::UnableToAuthoriseJoin);
    let joined = send_join(&server, &remote, &room_id).await;
    assert_eq!(error_kind(joined), ErrorKind::UnableToAuthoriseJoin);
}

#[tokio::test]
async fn a_server_without_a_user_who_may_invite_says_so() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (club, room_id) = rooms(&server, &remote).await;
    server
        .receive_join(&remote, &club, &Remote::user("bob"))
        .await;
    let joined = server.join_room(&room_id, &bob()).await;
    joined.expect("joined");
    let levels = json!({ "invite": 50 });
    let owner = alice();
    let set = server.set(&room_id, &owner, "m.room.power_levels", levels);
    set.await.expect("set");
    let left = server.leave(&room_id, &sender(&alice()), None).await;
    left.expect("left");
    let made = make_join(&server, &remote, &room_id).await;
    assert_eq!(error_kind(made), ErrorKind::UnableToGrantJoin);
}
