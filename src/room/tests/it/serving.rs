//! Events for other servers that are in a room.

use std::sync::Arc;

use event::Pdu;
use room::{AcceptedJoin, EventsBefore, SentEvent};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, server_name};
use serde_json::json;
use types::ErrorKind;

use crate::{
    remote::{Branch, Remote, texts},
    support::{Server, alice, bob, carol, content, error_kind},
};

/// A room of Alice in which a user of another server is, who came after two messages.
async fn room(server: &Server, remote: &Remote) -> (OwnedRoomId, Vec<OwnedEventId>) {
    remote.introduce(server).await;
    let room_id = server.room(&[&alice()]).await;
    let mut sent = Vec::new();
    for text in ["one", "two"] {
        let event_id = server.send_text(&room_id, &alice(), text).await;
        sent.push(event_id.expect("sent"));
    }
    sent.push(
        server
            .receive_join(remote, &room_id, &Remote::user("bob"))
            .await,
    );
    let last = server.send_text(&room_id, &alice(), "three").await;
    sent.push(last.expect("sent"));
    (room_id, sent)
}

fn before<'a>(latest: &'a [OwnedEventId], earliest: &'a [OwnedEventId]) -> EventsBefore<'a> {
    EventsBefore {
        latest,
        earliest,
        with_latest: true,
        min_depth: 0,
        limit: 10,
    }
}

async fn ids(
    server: &Server,
    remote: &Remote,
    room_id: &OwnedRoomId,
    wanted: EventsBefore<'_>,
) -> Vec<OwnedEventId> {
    let served = server.serve_before(&remote.name, room_id, wanted).await;
    let served = served.expect("events").into_iter();
    served.map(|pdu| pdu.event_id().clone()).collect()
}

#[tokio::test]
async fn events_before_others_come_the_newest_first() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, sent) = room(&server, &remote).await;
    let mut expected = sent.clone();
    expected.reverse();
    let (latest, earliest) = (&sent[3..], &sent[..1]);
    let found = ids(&server, &remote, &room_id, before(latest, earliest)).await;
    assert_eq!(found, expected[..3]);
    let gap = EventsBefore {
        with_latest: false,
        limit: 1,
        ..before(latest, earliest)
    };
    assert_eq!(ids(&server, &remote, &room_id, gap).await, expected[1..2]);
    let all = ids(&server, &remote, &room_id, before(latest, &[])).await;
    assert_eq!(all.len(), 10);
    assert_eq!(all[..4], expected);
}

#[tokio::test]
async fn the_state_before_a_join_does_not_have_it() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, sent) = room(&server, &remote).await;
    let bob = Remote::user("bob");
    for (event_id, is_in) in [(&sent[2], false), (&sent[3], true)] {
        let served = server.serve_state(&remote.name, &room_id, event_id).await;
        let served = served.expect("the state");
        let mut state = served.state.iter();
        assert_eq!(
            state.any(|pdu| pdu.state_key() == Some(bob.as_str())),
            is_in
        );
        assert!(!served.auth_chain.is_empty());
    }
    let chain = server
        .serve_auth_chain(&remote.name, &room_id, &sent[3])
        .await;
    let chain = chain.expect("the auth chain");
    assert!(
        chain
            .iter()
            .any(|pdu| pdu.event_type() == "m.room.power_levels")
    );
}

#[tokio::test]
async fn what_came_before_a_join_is_redacted_if_only_members_may_see_it() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (_, sent) = room(&server, &remote).await;
    let shared = server.serve_event(&remote.name, &sent[0]).await;
    assert_eq!(content(&shared.expect("the event"))["body"], "one");
    let other = Server::start().await;
    remote.introduce(&other).await;
    let room_id_there = other.room(&[&alice()]).await;
    let joined_only = json!({ "history_visibility": "joined" });
    let set = other
        .set(
            &room_id_there,
            &alice(),
            "m.room.history_visibility",
            joined_only,
        )
        .await;
    set.expect("set");
    let hidden = other.send_text(&room_id_there, &alice(), "hidden").await;
    other
        .receive_join(&remote, &room_id_there, &Remote::user("bob"))
        .await;
    let hidden = other
        .serve_event(&remote.name, &hidden.expect("sent"))
        .await;
    assert_eq!(content(&hidden.expect("the event")), json!({}));
}

#[tokio::test]
async fn a_server_that_is_not_in_the_room_gets_nothing() {
    let (server, remote) = (Server::start().await, Remote::new());
    let (room_id, sent) = room(&server, &remote).await;
    let stranger = server_name!("stranger.test");
    let events = server
        .serve_before(stranger, &room_id, before(&sent, &[]))
        .await;
    assert_eq!(error_kind(events), ErrorKind::Forbidden);
    let event = server.serve_event(stranger, &sent[0]).await;
    assert_eq!(error_kind(event), ErrorKind::Forbidden);
    let state = server.serve_state(stranger, &room_id, &sent[0]).await;
    assert_eq!(error_kind(state), ErrorKind::Forbidden);
}

/// Has a user of the other server join a public room, members left out.
async fn join_without_members(server: &Server, remote: &Remote, room_id: &RoomId) -> AcceptedJoin {
    let mut branch = Branch::of(server, room_id).await;
    let user_id = Remote::user("dave");
    let join = remote.join(&mut branch, &user_id);
    let sent = SentEvent {
        origin: &remote.name,
        room_id,
        event_id: join.event_id(),
        pdu: &texts([&join])[0],
    };
    let accepted = server.accept_join(sent, true).await;
    accepted.expect("the join is accepted")
}

/// The state keys of the member events among events, sorted.
fn members<'a>(events: impl IntoIterator<Item = &'a Arc<Pdu>>) -> Vec<&'a str> {
    let events = events.into_iter();
    let of_members = events.filter(|pdu| pdu.event_type() == "m.room.member");
    let mut members: Vec<_> = of_members.filter_map(|pdu| pdu.state_key()).collect();
    members.sort_unstable();
    members
}

#[tokio::test]
async fn a_join_without_members_is_answered_with_the_servers_and_who_names_the_room() {
    let (server, remote) = (Server::start().await, Remote::new());
    remote.introduce(&server).await;
    let (alice, bob, carol) = (alice(), bob(), carol());
    let room_id = server.room(&[&alice, &bob]).await;
    let joined = join_without_members(&server, &remote, &room_id).await;
    assert_eq!(members(&joined.state), [alice.as_str(), bob.as_str()]);
    let servers = joined.servers.expect("the servers");
    assert_eq!(
        servers.into_iter().collect::<Vec<_>>(),
        [testkit::server_name()]
    );
    // All that authorises the join is in the state.
    assert_eq!(joined.auth_chain.len(), 0);

    let room_id = server.room(&[&alice, &bob, &carol]).await;
    let name = json!({ "name": "Tea" });
    let set = server.set(&room_id, &alice, "m.room.name", name).await;
    set.expect("the name is set");
    let joined = join_without_members(&server, &remote, &room_id).await;
    assert_eq!(members(&joined.state), [""; 0]);
    // The creator authorises the state, in which nobody is.
    assert_eq!(members(&joined.auth_chain), [alice.as_str()]);
}
