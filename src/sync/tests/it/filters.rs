//! Filters.

use serde_json::json;
use testkit::room::TestRoom;

use crate::support::{alice, bodies, event_types, filter, request, server, set_topic};

#[tokio::test]
async fn filtered_timeline_reads_further_back() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.message(&server.db, &alice(), "wanted").await;
    for n in 0..80 {
        room.state(&server.db, &alice(), "org.x", &n.to_string(), json!({}))
            .await;
    }
    let mut wants = request(&alice(), None);
    wants.filter = filter(json!({ "room": { "timeline": { "types": ["m.room.message"] } } }));
    let answer = server.ask(&wants).await;
    let timeline = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"];
    assert_eq!(bodies(&timeline["events"]), ["wanted"]);
    assert_eq!(timeline["limited"], false);
}

#[tokio::test]
async fn state_that_the_timeline_filter_excludes_is_in_the_state_section() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    room.message(&server.db, &alice(), "hello").await;
    set_topic(&server, &room, "t").await;
    let mut wants = request(&alice(), Some(&token));
    wants.filter = filter(json!({ "room": { "timeline": { "types": ["m.room.message"] } } }));
    let answer = server.ask(&wants).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(
        event_types(&section["timeline"]["events"]),
        ["m.room.message"]
    );
    assert_eq!(event_types(&section["state"]["events"]), ["m.room.topic"]);
}

#[tokio::test]
async fn filtered_rooms_are_left_out() {
    let server = server().await;
    let (one, two) = (
        TestRoom::create(&server.db, &alice()).await,
        TestRoom::create(&server.db, &alice()).await,
    );
    let mut wants = request(&alice(), None);
    wants.filter = filter(json!({ "room": { "not_rooms": [one.room_id] } }));
    let answer = server.ask(&wants).await;
    let joined = answer["rooms"]["join"].as_object().unwrap();
    assert_eq!(joined.keys().collect::<Vec<_>>(), [two.room_id.as_str()]);
}

#[tokio::test]
async fn event_fields_prunes_events() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.message(&server.db, &alice(), "hello").await;
    let mut wants = request(&alice(), None);
    wants.filter = filter(json!({
        "event_fields": ["content.body"],
        "room": { "timeline": { "limit": 1 } }
    }));
    let answer = server.ask(&wants).await;
    let events = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"]["events"];
    assert_eq!(*events, json!([{ "content": { "body": "hello" } }]));
}

#[tokio::test]
async fn federation_format_shows_the_event_as_it_was_signed() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.message(&server.db, &alice(), "hello").await;
    let mut wants = request(&alice(), None);
    wants.filter = filter(json!({ "event_format": "federation" }));
    let answer = server.ask(&wants).await;
    let events = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"]["events"];
    assert!(events[4]["signatures"].is_object());
    assert!(events[4]["unsigned"]["age"].is_number());
}
