//! What a new member sees of a room's history.

use testkit::room::{CREATION_EVENTS, TestRoom};

use crate::support::{alice, bob, bodies, event_types, server, set_visibility};

#[tokio::test]
async fn new_member_gets_the_whole_state_and_shared_history() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&bob()).await;
    room.message(&server.db, &alice(), "before").await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    room.message(&server.db, &alice(), "after").await;
    let answer = server.sync(&bob(), Some(&token)).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    let events = &section["timeline"]["events"];
    assert_eq!(bodies(events), ["before", "after"]);
    assert_eq!(event_types(events).len(), CREATION_EVENTS + 3);
    // Nothing of it goes on from what the client may have of an earlier stay.
    assert_eq!(section["timeline"]["limited"], true);
    let memberships: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["unsigned"]["membership"].as_str().unwrap())
        .collect();
    let (before, after) = memberships.split_at(CREATION_EVENTS + 1);
    assert!(before.iter().all(|membership| *membership == "leave"));
    assert_eq!(after, ["join", "join"]);
}

#[tokio::test]
async fn joined_visibility_hides_history_before_the_join() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    set_visibility(&server, &room, "joined").await;
    room.message(&server.db, &alice(), "before").await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    room.message(&server.db, &alice(), "after").await;
    let answer = server.sync(&bob(), None).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    let timeline = &section["timeline"]["events"];
    assert_eq!(bodies(timeline), ["after"]);
    // What was sent before the setting stays visible, and the change of the setting itself.
    assert_eq!(event_types(timeline).len(), CREATION_EVENTS + 3);
}

#[tokio::test]
async fn invited_visibility_shows_history_from_the_invitation_on() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    set_visibility(&server, &room, "invited").await;
    room.message(&server.db, &alice(), "before").await;
    room.member(&server.db, &alice(), &bob(), "invite").await;
    room.message(&server.db, &alice(), "between").await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let answer = server.sync(&bob(), None).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(bodies(&section["timeline"]["events"]), ["between"]);
}
