//! Rooms that the user has left.

use serde_json::json;
use testkit::room::{CREATION_EVENTS, TestRoom};

use crate::support::{
    alice, bob, bodies, event_types, filter, next, request, server, set_topic, set_visibility,
};

#[tokio::test]
async fn left_room_is_returned_once() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&bob()).await;
    room.message(&server.db, &alice(), "before").await;
    room.member(&server.db, &bob(), &bob(), "leave").await;
    room.message(&server.db, &alice(), "after").await;
    let answer = server.sync(&bob(), Some(&token)).await;
    let section = &answer["rooms"]["leave"][room.room_id.as_str()];
    let events = &section["timeline"]["events"];
    assert_eq!(event_types(events), ["m.room.message", "m.room.member"]);
    assert_eq!(bodies(events), ["before"]);
    assert_eq!(events[1]["unsigned"]["membership"], "leave");
    assert_eq!(section["state"]["events"], json!([]));
    room.message(&server.db, &alice(), "later").await;
    let answer = server.sync(&bob(), Some(&next(&answer))).await;
    assert!(answer.get("rooms").is_none());
}

#[tokio::test]
async fn include_leave_returns_left_rooms_with_the_state_at_leaving() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    set_topic(&server, &room, "then").await;
    for n in 0..12 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    room.member(&server.db, &bob(), &bob(), "leave").await;
    set_topic(&server, &room, "now").await;
    let answer = server.sync(&bob(), None).await;
    assert!(answer.get("rooms").is_none());
    let mut all = request(&bob(), None);
    all.filter = filter(json!({ "room": { "include_leave": true } }));
    let answer = server.ask(&all).await;
    let section = &answer["rooms"]["leave"][room.room_id.as_str()];
    let state = section["state"]["events"].as_array().unwrap();
    let topic = state
        .iter()
        .find(|event| event["type"] == "m.room.topic")
        .unwrap();
    assert_eq!(topic["content"]["topic"], "then");
    let member = state
        .iter()
        .find(|event| event["state_key"] == bob().as_str())
        .unwrap();
    assert_eq!(member["content"]["membership"], "join");
    assert_eq!(bodies(&section["timeline"]["events"]).last(), Some(&"11"));
}

#[tokio::test]
async fn rejected_invitation_shows_nothing_but_the_rejection() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    set_visibility(&server, &room, "joined").await;
    let token = server.token(&bob()).await;
    room.member(&server.db, &alice(), &bob(), "invite").await;
    let answer = server.sync(&bob(), Some(&token)).await;
    assert!(
        answer["rooms"]["invite"]
            .get(room.room_id.as_str())
            .is_some()
    );
    room.message(&server.db, &alice(), "hidden").await;
    room.member(&server.db, &bob(), &bob(), "leave").await;
    let answer = server.sync(&bob(), Some(&next(&answer))).await;
    let section = &answer["rooms"]["leave"][room.room_id.as_str()];
    let events = section["timeline"]["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["content"]["membership"], "leave");
    assert_eq!(section["state"]["events"], json!([]));
}

#[tokio::test]
async fn leaving_and_coming_back_between_two_syncs_is_a_new_room() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&bob()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    room.member(&server.db, &bob(), &bob(), "leave").await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let answer = server.sync(&bob(), Some(&token)).await;
    assert!(answer["rooms"].get("leave").is_none());
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    let events = section["timeline"]["events"].as_array().unwrap();
    assert_eq!(events.len(), CREATION_EVENTS + 3);
}

#[tokio::test]
async fn forgotten_room_is_returned_as_left_once() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&bob()).await;
    room.member(&server.db, &bob(), &bob(), "leave").await;
    server.sync(&bob(), None).await;
    server.live.forget(&bob(), room.room_nid);
    let mut wants = request(&bob(), Some(&token));
    wants.filter = filter(json!({ "room": { "include_leave": true } }));
    let answer = server.ask(&wants).await;
    assert!(
        answer["rooms"]["leave"]
            .get(room.room_id.as_str())
            .is_some()
    );
    for since in [Some(next(&answer)), None] {
        wants.since = since.map(|since| since.parse().unwrap());
        let answer = server.ask(&wants).await;
        assert!(answer.get("rooms").is_none(), "{answer}");
    }
}
