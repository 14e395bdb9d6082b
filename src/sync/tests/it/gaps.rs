//! Gaps: more changes than one response holds.

use serde_json::json;
use testkit::{
    TestDatabase,
    room::{CREATION_EVENTS, TestRoom},
};

use crate::support::{alice, bob, bodies, event_types, filter, follow, request, server, set_topic};

#[tokio::test]
async fn limited_timeline_returns_the_state_that_changed_in_the_gap() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    set_topic(&server, &room, "old").await;
    set_topic(&server, &room, "gap").await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    for n in 0..10 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    let answer = server.sync(&alice(), Some(&token)).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(section["timeline"]["limited"], true);
    assert!(
        section["timeline"]["prev_batch"]
            .as_str()
            .unwrap()
            .starts_with('p')
    );
    assert_eq!(
        event_types(&section["state"]["events"]),
        ["m.room.member", "m.room.topic"]
    );
    assert_eq!(section["state"]["events"][1]["content"]["topic"], "gap");
    assert_eq!(section["summary"]["m.joined_member_count"], 2);
}

#[tokio::test]
async fn state_that_changes_after_the_gap_is_as_of_the_timeline_start() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    set_topic(&server, &room, "gap").await;
    room.message(&server.db, &alice(), "lost").await;
    set_topic(&server, &room, "shown").await;
    let mut short = request(&alice(), Some(&token));
    short.filter = filter(json!({ "room": { "timeline": { "limit": 1 } } }));
    let answer = server.ask(&short).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(
        section["timeline"]["events"][0]["content"]["topic"],
        "shown"
    );
    assert_eq!(section["state"]["events"][0]["content"]["topic"], "gap");
    short.use_state_after = true;
    let answer = server.ask(&short).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(
        section["state_after"]["events"][0]["content"]["topic"],
        "shown"
    );
}

#[tokio::test]
async fn old_token_is_answered_from_the_database_after_a_restart() {
    let database = testkit::database().await;
    let options = database.options.clone();
    let server = follow(database);
    let room = TestRoom::create(&server.db, &alice()).await;
    let other = TestRoom::create(&server.db, &alice()).await;
    other.message(&server.db, &alice(), "seen").await;
    let token = server.token(&alice()).await;
    set_topic(&server, &room, "gap").await;
    for n in 0..100 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    let before = server.sync(&alice(), Some(&token)).await;
    let restarted = follow(TestDatabase::open(options).await);
    let after = restarted.sync(&alice(), Some(&token)).await;
    assert_eq!(before["rooms"], after["rooms"]);
    let section = &after["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(bodies(&section["timeline"]["events"]).len(), 10);
    assert_eq!(event_types(&section["state"]["events"]), ["m.room.topic"]);
    assert!(after["rooms"]["join"].get(other.room_id.as_str()).is_none());
}

#[tokio::test]
async fn timeline_longer_than_the_cached_one_is_read_from_the_database() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    for n in 0..90 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    let mut long = request(&alice(), None);
    long.filter = filter(json!({ "room": { "timeline": { "limit": 80 } } }));
    let answer = server.ask(&long).await;
    let timeline = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"];
    let expected: Vec<String> = (10..90).map(|n| n.to_string()).collect();
    assert_eq!(bodies(&timeline["events"]), expected);
    assert_eq!(timeline["limited"], true);
    long.filter = filter(json!({ "room": { "timeline": { "limit": 90 + CREATION_EVENTS } } }));
    let answer = server.ask(&long).await;
    let timeline = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"];
    let events = timeline["events"].as_array().unwrap();
    assert_eq!(events.len(), 90 + CREATION_EVENTS);
    assert_eq!(timeline["limited"], false);
}

#[tokio::test]
async fn a_timeline_does_not_reach_back_over_events_that_did_not_come() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    set_topic(&server, &room, "before").await;
    room.message(&server.db, &alice(), "before").await;
    let after = room.message(&server.db, &alice(), "after").await;
    room.message(&server.db, &alice(), "last").await;
    testkit::mark_gap(&server.db.database, &after).await;
    let server = server.restarted().await;
    for since in [Some(&*token), None] {
        let answer = server.sync(&alice(), since).await;
        let section = &answer["rooms"]["join"][room.room_id.as_str()];
        assert_eq!(
            bodies(&section["timeline"]["events"]),
            ["after", "last"],
            "{since:?}"
        );
        assert_eq!(section["timeline"]["limited"], true);
        assert!(event_types(&section["state"]["events"]).contains(&"m.room.topic"));
    }
    // Even if the filter leaves that event out.
    let mut filtered = request(&alice(), Some(&token));
    filtered.filter = filter(json!({ "room": { "timeline": { "types": ["m.room.topic"] } } }));
    let answer = server.ask(&filtered).await;
    let timeline = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"];
    assert_eq!(timeline["events"], json!([]));
    assert_eq!(timeline["limited"], true);
}
