//! Invitations to rooms that this server does not take part in.

use std::sync::Arc;

use event::Pdu;
use room::{Error, SentEvent};
use ruma::{RoomId, RoomVersionId, UserId, events::room::member::MembershipState};
use serde_json::json;
use storage::memberships;
use types::ErrorKind;

use crate::{
    remote::{Branch, Remote, texts},
    support::{Server, alice, error_kind},
};

/// A change of Alice's membership.
fn change(remote: &Remote, branch: &mut Branch, sender: &UserId, membership: &str) -> Arc<Pdu> {
    let alice = alice();
    let place = ("m.room.member", Some(alice.as_str()));
    let content = json!({ "membership": membership });
    remote.event(branch, sender, place, &content)
}

/// Invites Alice, showing some events of the state.
async fn invite(
    server: &Server,
    remote: &Remote,
    (branch, invite): (&Branch, &Arc<Pdu>),
    shown: &[Arc<Pdu>],
) -> Result<Arc<Pdu>, Error> {
    let text = texts([invite]).remove(0);
    let sent = SentEvent {
        origin: &remote.name,
        room_id: &branch.room_id,
        event_id: invite.event_id(),
        pdu: &text,
    };
    let version = branch.version.id();
    server.accept_invite(sent, version, texts(shown)).await
}

/// A room of Bob and Carol to which Bob has invited Alice.
async fn invited(server: &Server, remote: &Remote) -> Branch {
    remote.introduce(server).await;
    let mut branch = remote.room(&RoomVersionId::V12);
    let carol = Remote::user("carol");
    let place = ("m.room.member", Some(carol.as_str()));
    remote.event(&mut branch, &carol, place, &json!({ "membership": "join" }));
    let shown: Vec<Arc<Pdu>> = branch.state.iter().cloned().collect();
    let invitation = change(remote, &mut branch, &Remote::user("bob"), "invite");
    let accepted = invite(server, remote, (&branch, &invitation), &shown).await;
    accepted.expect("the invitation is taken");
    branch
}

async fn membership(server: &Server, room_id: &RoomId) -> MembershipState {
    let mut db = server.test.database.acquire().await.expect("a connection");
    let found = memberships::find(&mut db, room_id, &alice()).await;
    found.expect("the memberships").expect("Alice").membership
}

#[tokio::test]
async fn an_invitation_is_withdrawn_by_who_made_it_and_nobody_else() {
    let (server, remote) = (Server::start().await, Remote::new());
    let mut branch = invited(&server, &remote).await;
    let room_id = branch.room_id.clone();
    for membership_after in ["leave", "ban"] {
        let carol = Remote::user("carol");
        let kick = change(&remote, &mut branch.clone(), &carol, membership_after);
        let refused = server
            .receive_from(&remote, &room_id, std::slice::from_ref(&kick))
            .await;
        assert_eq!(refused, [kick.event_id().clone()]);
        let kept = membership(&server, &room_id).await;
        assert_eq!(kept, MembershipState::Invite);
    }
    let kick = change(&remote, &mut branch, &Remote::user("bob"), "leave");
    let refused = server.receive_from(&remote, &room_id, &[kick]).await;
    assert!(refused.is_empty());
    let left = membership(&server, &room_id).await;
    assert_eq!(left, MembershipState::Leave);
}

#[tokio::test]
async fn an_invitation_shows_the_create_event_and_signed_events_of_the_room_only() {
    let (server, remote) = (Server::start().await, Remote::new());
    remote.introduce(&server).await;
    let bob = Remote::user("bob");
    let mut branch = remote.room(&RoomVersionId::V12);
    let state = branch.state.clone();
    let event = |event_type: &str, key: &str| state.get(event_type, key).expect("state").clone();
    let create = event("m.room.create", "");
    let member = event("m.room.member", bob.as_str());
    let mut elsewhere = branch.clone();
    elsewhere.room_id =
        RoomId::parse("!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").expect("an id");
    let place = ("m.room.name", Some(""));
    let foreign = remote.event(&mut elsewhere, &bob, place, &json!({ "name": "other" }));
    let forger = Remote {
        name: remote.name.clone(),
        ..Remote::new()
    };
    let forged = forger.event(
        &mut branch.clone(),
        &bob,
        place,
        &json!({ "name": "forged" }),
    );
    let invitation = change(&remote, &mut branch, &bob, "invite");
    let with = (&branch, &invitation);
    for shown in [
        vec![],
        vec![member.clone()],
        vec![create.clone(), foreign],
        vec![create.clone(), forged],
        vec![create.clone(); 33],
    ] {
        let refused = invite(&server, &remote, with, &shown).await;
        assert_eq!(error_kind(refused), ErrorKind::InvalidParam);
    }
    let taken = invite(&server, &remote, with, &[member, create]).await;
    taken.expect("the invitation is taken");
}

#[tokio::test]
async fn before_room_version_12_an_invitation_may_show_anything() {
    let (server, remote) = (Server::start().await, Remote::new());
    remote.introduce(&server).await;
    let mut branch = remote.room(&RoomVersionId::V11);
    let invitation = change(&remote, &mut branch, &Remote::user("bob"), "invite");
    let taken = invite(&server, &remote, (&branch, &invitation), &[]).await;
    taken.expect("the invitation is taken");
}
