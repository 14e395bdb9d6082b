//! Who sees which part of a room's past.

use room::{Error, HistoryFilter, MembersQuery, MembershipChange, PageRequest, Profile};
use ruma::{OwnedRoomId, UserId, events::room::member::MembershipState};
use serde_json::{Value, json};
use types::{ErrorKind, HistoryOrder, PageToken, StreamPosition};

use crate::support::{
    Server, alice, backwards, bob, carol, error_kind, json as parse, reader, sender,
};

/// A public room of Alice's with this history visibility.
async fn room(server: &Server, visibility: &str) -> OwnedRoomId {
    let room_id = server.room(&[&alice()]).await;
    set_visibility(server, &room_id, visibility).await;
    room_id
}

async fn set_visibility(server: &Server, room_id: &OwnedRoomId, visibility: &str) {
    let content = json!({ "history_visibility": visibility });
    server
        .set(room_id, &alice(), "m.room.history_visibility", content)
        .await
        .expect("set");
}

async fn send_text(server: &Server, room_id: &OwnedRoomId, text: &str) {
    server
        .send_text(room_id, &alice(), text)
        .await
        .expect("sent");
}

#[tokio::test]
async fn history_visibility_limits_what_members_read() {
    let server = Server::start().await;
    for (visibility, texts) in [
        ("world_readable", vec!["before", "invited", "joined"]),
        ("shared", vec!["before", "invited", "joined"]),
        ("invited", vec!["invited", "joined"]),
        ("joined", vec!["joined"]),
    ] {
        let room_id = room(&server, visibility).await;
        send_text(&server, &room_id, "before").await;
        server
            .invite(&room_id, &alice(), &bob())
            .await
            .expect("invited");
        send_text(&server, &room_id, "invited").await;
        server.join_room(&room_id, &bob()).await.expect("joined");
        send_text(&server, &room_id, "joined").await;
        assert_eq!(
            server.readable_texts(&room_id, &bob()).await,
            texts,
            "{visibility}"
        );
    }
}

#[tokio::test]
async fn former_members_read_until_they_left() {
    let server = Server::start().await;
    for visibility in ["shared", "invited", "joined"] {
        let room_id = room(&server, visibility).await;
        server.join_room(&room_id, &bob()).await.expect("joined");
        send_text(&server, &room_id, "there").await;
        server
            .leave(&room_id, &sender(&bob()), None)
            .await
            .expect("left");
        send_text(&server, &room_id, "gone").await;
        assert_eq!(
            server.readable_texts(&room_id, &bob()).await,
            ["there"],
            "{visibility}"
        );
        let last = server.stored(&room_id).await.pop().expect("an event");
        let hidden = server.read(&room_id, &bob(), last.pdu.event_id()).await;
        assert!(matches!(hidden, Err(Error::UnknownEvent)));
    }
}

#[tokio::test]
async fn returning_members_read_shared_history() {
    let server = Server::start().await;
    for (visibility, texts) in [("shared", vec!["1", "2", "3"]), ("joined", vec!["1", "3"])] {
        let room_id = room(&server, visibility).await;
        server.join_room(&room_id, &bob()).await.expect("joined");
        send_text(&server, &room_id, "1").await;
        server
            .leave(&room_id, &sender(&bob()), None)
            .await
            .expect("left");
        send_text(&server, &room_id, "2").await;
        server
            .join_room(&room_id, &bob())
            .await
            .expect("joined again");
        send_text(&server, &room_id, "3").await;
        assert_eq!(
            server.readable_texts(&room_id, &bob()).await,
            texts,
            "{visibility}"
        );
    }
}

#[tokio::test]
async fn banned_users_read_until_the_ban() {
    let server = Server::start().await;
    let room_id = room(&server, "shared").await;
    server.join_room(&room_id, &bob()).await.expect("joined");
    send_text(&server, &room_id, "there").await;
    server
        .change(&room_id, &alice(), &bob(), MembershipChange::Ban)
        .await
        .expect("banned");
    send_text(&server, &room_id, "gone").await;
    assert_eq!(server.readable_texts(&room_id, &bob()).await, ["there"]);
}

#[tokio::test]
async fn world_readable_rooms_are_readable_by_all() {
    let server = Server::start().await;
    let room_id = room(&server, "shared").await;
    send_text(&server, &room_id, "closed").await;
    set_visibility(&server, &room_id, "world_readable").await;
    send_text(&server, &room_id, "open").await;
    assert_eq!(server.readable_texts(&room_id, &carol()).await, ["open"]);
    let state = server
        .state(&room_id, reader(&carol()))
        .await
        .expect("state");
    assert_eq!(parse(&state).as_array().expect("a list").len(), 6);
    set_visibility(&server, &room_id, "shared").await;
    let page = server.page(&room_id, &carol(), &backwards(10)).await;
    assert_eq!(error_kind(page), ErrorKind::Forbidden);
}

#[tokio::test]
async fn invited_users_read_only_with_visibility_invited() {
    let server = Server::start().await;
    let room_id = room(&server, "invited").await;
    send_text(&server, &room_id, "before").await;
    server
        .invite(&room_id, &alice(), &bob())
        .await
        .expect("invited");
    send_text(&server, &room_id, "since").await;
    assert_eq!(server.readable_texts(&room_id, &bob()).await, ["since"]);
    let room_id = room(&server, "shared").await;
    server
        .invite(&room_id, &alice(), &bob())
        .await
        .expect("invited");
    let page = server.page(&room_id, &bob(), &backwards(10)).await;
    assert_eq!(error_kind(page), ErrorKind::Forbidden);
}

#[tokio::test]
async fn former_members_get_the_state_at_leaving() {
    let server = Server::start().await;
    let room_id = room(&server, "shared").await;
    let name = |name: &str| json!({ "name": name });
    server
        .set(&room_id, &alice(), "m.room.name", name("Old"))
        .await
        .expect("set");
    server.join_room(&room_id, &bob()).await.expect("joined");
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    server
        .set(&room_id, &alice(), "m.room.name", name("New"))
        .await
        .expect("set");
    server.join_room(&room_id, &carol()).await.expect("joined");
    let seen =
        async |user: ruma::OwnedUserId| server.content(&room_id, &user, "m.room.name", "").await;
    assert_eq!(seen(bob()).await.expect("state"), name("Old"));
    assert_eq!(seen(carol()).await.expect("state"), name("New"));
    let state = server.visible_state(&room_id, &bob()).await.expect("state");
    assert_eq!(state.membership(&bob()), MembershipState::Leave);
    assert_eq!(state.membership(&carol()), MembershipState::Leave);
    let joined = server.joined_members(&room_id, &bob()).await;
    assert!(matches!(joined, Err(Error::NotInRoom)));
}

#[tokio::test]
async fn non_members_cannot_read_state() {
    let server = Server::start().await;
    let room_id = room(&server, "shared").await;
    server
        .invite(&room_id, &alice(), &bob())
        .await
        .expect("invited");
    server
        .change(&room_id, &alice(), &carol(), MembershipChange::Ban)
        .await
        .expect("banned");
    for user in [bob(), carol(), crate::support::user("dave")] {
        let state = server.state(&room_id, reader(&user)).await;
        assert!(matches!(state, Err(Error::NotInRoom)), "{user}");
    }
}

#[tokio::test]
async fn forgotten_rooms_cannot_be_read() {
    let server = Server::start().await;
    let room_id = room(&server, "shared").await;
    server.join_room(&room_id, &bob()).await.expect("joined");
    send_text(&server, &room_id, "there").await;
    let last = server.stored(&room_id).await.pop().expect("an event");
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    server.forget(&room_id, &bob()).await.expect("forgotten");
    let page = server.page(&room_id, &bob(), &backwards(10)).await;
    assert_eq!(error_kind(page), ErrorKind::Forbidden);
    let state = server.state(&room_id, reader(&bob())).await;
    assert_eq!(error_kind(state), ErrorKind::Forbidden);
    let event = server.read(&room_id, &bob(), last.pdu.event_id()).await;
    assert_eq!(error_kind(event), ErrorKind::NotFound);
    server
        .join_room(&room_id, &bob())
        .await
        .expect("joined again");
    assert_eq!(server.readable_texts(&room_id, &bob()).await, ["there"]);
}

/// The users and their memberships in an answer of `/members`.
async fn members(
    server: &Server,
    room_id: &OwnedRoomId,
    user_id: &UserId,
    query: &MembersQuery,
) -> Vec<(String, String)> {
    let body = server
        .members(room_id, reader(user_id), query)
        .await
        .expect("members");
    let body = parse(&body);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut members: Vec<_> = body["chunk"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| {
            (
                text(&event["state_key"]),
                text(&event["content"]["membership"]),
            )
        })
        .collect();
    members.sort();
    members
}

#[tokio::test]
async fn members_are_returned_at_a_point_and_by_membership() {
    let server = Server::start().await;
    let room_id = room(&server, "shared").await;
    let before = PageToken(HistoryOrder::of(StreamPosition(server.position().await)));
    server.join_room(&room_id, &bob()).await.expect("joined");
    server.join_room(&room_id, &carol()).await.expect("joined");
    server
        .leave(&room_id, &sender(&carol()), None)
        .await
        .expect("left");
    let is = |user: ruma::OwnedUserId, membership: &str| (user.to_string(), membership.to_owned());
    let all = members(&server, &room_id, &bob(), &MembersQuery::default()).await;
    assert_eq!(
        all,
        [is(alice(), "join"), is(bob(), "join"), is(carol(), "leave")]
    );
    let then = MembersQuery {
        at: Some(before),
        ..MembersQuery::default()
    };
    let then = members(&server, &room_id, &alice(), &then).await;
    assert_eq!(then, [is(alice(), "join")]);
    let beginning = MembersQuery {
        at: Some(PageToken(HistoryOrder::of(StreamPosition(0)))),
        ..MembersQuery::default()
    };
    let first = members(&server, &room_id, &alice(), &beginning).await;
    assert_eq!(first, [is(alice(), "join")]);
    let first = members(&server, &room_id, &bob(), &beginning).await;
    assert_eq!(first, [is(alice(), "join"), is(bob(), "join")]);
    let joined = MembersQuery {
        membership: Some(MembershipState::Join),
        ..MembersQuery::default()
    };
    let joined = members(&server, &room_id, &alice(), &joined).await;
    assert_eq!(joined, [is(alice(), "join"), is(bob(), "join")]);
    let gone = MembersQuery {
        not_membership: Some(MembershipState::Join),
        ..MembersQuery::default()
    };
    let gone = members(&server, &room_id, &alice(), &gone).await;
    assert_eq!(gone, [is(carol(), "leave")]);
}

#[tokio::test]
async fn former_members_do_not_see_later_members() {
    let server = Server::start().await;
    let room_id = room(&server, "shared").await;
    server.join_room(&room_id, &bob()).await.expect("joined");
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    server.join_room(&room_id, &carol()).await.expect("joined");
    let now = MembersQuery {
        at: Some(PageToken(HistoryOrder::of(StreamPosition(
            server.position().await,
        )))),
        ..MembersQuery::default()
    };
    for query in [MembersQuery::default(), now] {
        let returned = members(&server, &room_id, &bob(), &query).await;
        assert!(
            !returned.iter().any(|(user, _)| *user == carol()),
            "{query:?}"
        );
    }
}

#[tokio::test]
async fn members_at_a_hidden_point_are_those_at_the_first_visible_state() {
    let server = Server::start().await;
    let is = |user: ruma::OwnedUserId, membership: &str| (user.to_string(), membership.to_owned());
    for visibility in ["joined", "invited"] {
        let room_id = room(&server, visibility).await;
        server.join_room(&room_id, &carol()).await.expect("joined");
        let then = MembersQuery {
            at: Some(PageToken(HistoryOrder::of(StreamPosition(
                server.position().await,
            )))),
            ..MembersQuery::default()
        };
        server
            .leave(&room_id, &sender(&carol()), None)
            .await
            .expect("left");
        server.join_room(&room_id, &bob()).await.expect("joined");
        let seen = [is(alice(), "join"), is(bob(), "join"), is(carol(), "leave")];
        let returned = members(&server, &room_id, &bob(), &then).await;
        assert_eq!(returned, seen, "{visibility}");
        let returned = members(&server, &room_id, &alice(), &then).await;
        assert_eq!(returned, [is(alice(), "join"), is(carol(), "join")]);
        set_visibility(&server, &room_id, "world_readable").await;
        let stranger = crate::support::user("dave");
        let returned = members(&server, &room_id, &stranger, &then).await;
        assert_eq!(returned, seen, "{visibility}");
        server
            .leave(&room_id, &sender(&bob()), None)
            .await
            .expect("left");
        let returned = members(&server, &room_id, &bob(), &then).await;
        assert_eq!(returned, seen, "{visibility}");
    }
}

/// The content of Alice's member event as it comes with the messages that the user reads.
async fn loaded_member_of_alice(server: &Server, room_id: &OwnedRoomId, user_id: &UserId) -> Value {
    let filter = HistoryFilter {
        lazy_load_members: true,
        ..HistoryFilter::default()
    };
    let request = PageRequest {
        filter,
        ..backwards(5)
    };
    let page = server.page(room_id, user_id, &request).await;
    let page = page.expect("messages");
    let members = page["state"].as_array().expect("a list").iter();
    let mut members = members.filter(|event| event["state_key"] == alice().as_str());
    members.next().expect("the member event")["content"].clone()
}

#[tokio::test]
async fn lazy_loaded_members_are_as_of_the_page() {
    let server = Server::start().await;
    let renamed = async |name: &str| {
        let profile = Profile {
            displayname: Some(name.to_owned()),
            avatar_url: None,
        };
        let updated = server.update_profile(&sender(&alice()), &profile).await;
        updated.expect("renamed");
    };
    let room_id = room(&server, "invited").await;
    renamed("Early").await;
    server.join_room(&room_id, &bob()).await.expect("joined");
    send_text(&server, &room_id, "there").await;
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    server
        .invite(&room_id, &alice(), &carol())
        .await
        .expect("invited");
    send_text(&server, &room_id, "for carol").await;
    let early = json!({ "membership": "join", "displayname": "Early" });
    let returned = loaded_member_of_alice(&server, &room_id, &carol()).await;
    assert_eq!(returned, early, "who is invited may look in");
    renamed("Late").await;
    assert_eq!(
        loaded_member_of_alice(&server, &room_id, &bob()).await,
        early
    );
    let late = json!({ "membership": "join", "displayname": "Late" });
    assert_eq!(
        loaded_member_of_alice(&server, &room_id, &alice()).await,
        late
    );
}

#[tokio::test]
async fn members_can_list_joined_members() {
    let server = Server::start().await;
    let room_id = room(&server, "shared").await;
    server.join_room(&room_id, &bob()).await.expect("joined");
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    let body = server
        .joined_members(&room_id, &alice())
        .await
        .expect("members");
    let nobody = json!({ "display_name": null, "avatar_url": null });
    assert_eq!(
        parse(&body),
        json!({ "joined": { alice().as_str(): nobody } })
    );
    let stranger = server.joined_members(&room_id, &carol()).await;
    assert!(matches!(stranger, Err(Error::NotInRoom)));
}
