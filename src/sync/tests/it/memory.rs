//! A cache that is too small, and entries that are loaded while changes are applied.

use serde_json::json;
use testkit::{queries_of, room::TestRoom};

use crate::support::{alice, bob, bodies, filter, follow_within, next, request, server};

#[tokio::test]
async fn responses_are_the_same_if_nothing_fits_into_the_cache() {
    let server = follow_within(testkit::database().await, 1);
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(TestRoom::create(&server.db, &alice()).await);
    }
    let first = server.sync(&alice(), None).await;
    assert_eq!(first["rooms"]["join"].as_object().unwrap().len(), 4);
    for room in &rooms {
        room.message(&server.db, &alice(), "one").await;
        room.message(&server.db, &alice(), "two").await;
    }
    let answer = server.sync(&alice(), Some(&next(&first))).await;
    for room in &rooms {
        let section = &answer["rooms"]["join"][room.room_id.as_str()];
        assert_eq!(bodies(&section["timeline"]["events"]), ["one", "two"]);
        assert_eq!(section["timeline"]["limited"], false);
    }
}

#[tokio::test]
async fn no_message_is_lost_or_repeated_while_rooms_are_loaded() {
    // Nothing stays in memory, so that every answer reads while messages come in.
    let server = follow_within(testkit::database().await, 1);
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&bob()).await;
    let mut wants = request(&bob(), Some(&token));
    // However many come between two answers, all of them are told.
    wants.filter = filter(json!({ "room": { "timeline": { "limit": 100 } } }));
    let (room_id, alice) = (room.room_id.clone(), alice());
    let sends = async {
        for n in 0..60 {
            room.message(&server.db, &alice, &n.to_string()).await;
        }
    };
    let reads = async {
        let mut read: Vec<String> = Vec::new();
        while read.len() < 60 {
            let answer = server.ask(&wants).await;
            let timeline = &answer["rooms"]["join"][room_id.as_str()]["timeline"];
            assert_ne!(timeline["limited"], true);
            read.extend(bodies(&timeline["events"]).into_iter().map(str::to_owned));
            wants.since = Some(next(&answer).parse().unwrap());
        }
        read
    };
    let ((), read) = tokio::join!(sends, reads);
    assert_eq!(read, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn redaction_in_another_process_is_seen() {
    let here = testkit::database().await;
    let there = testkit::TestDatabase::open(here.options.clone()).await;
    let (mut here, mut there) = (here, there);
    let ((publish, _), (_, listen)) = (there.feed.connect_cluster(), here.feed.connect_cluster());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(publish);
    tasks.spawn(listen);
    let there = follow_within(there, 1 << 20);
    let here = follow_within(here, 1 << 20);
    let room = TestRoom::create(&there.db, &alice()).await;
    let secret = room.message(&there.db, &alice(), "secret").await;
    here.live
        .wait_until_applied(there.db.database.committed())
        .await;
    let first = here.sync(&alice(), None).await;
    let events = &first["rooms"]["join"][room.room_id.as_str()]["timeline"]["events"];
    assert_eq!(bodies(events), ["secret"]);
    room.redact(&there.db, &alice(), &secret).await;
    here.live
        .wait_until_applied(there.db.database.committed())
        .await;
    let again = here.sync(&alice(), None).await;
    let events = &again["rooms"]["join"][room.room_id.as_str()]["timeline"]["events"];
    assert!(bodies(events).is_empty());
}

#[tokio::test]
async fn user_loaded_before_a_join_receives_the_room() {
    let server = server().await;
    let token = server.token(&bob()).await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let answer = server.sync(&bob(), Some(&token)).await;
    let token = next(&answer);
    room.message(&server.db, &alice(), "hello").await;
    let answer = server.sync(&bob(), Some(&token)).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(bodies(&section["timeline"]["events"]), ["hello"]);
}

#[tokio::test]
async fn one_large_room_does_not_empty_the_cache() {
    // Less than the large room takes, and many times what the small ones take.
    let server = follow_within(testkit::database().await, 1200 << 10);
    let mut small = Vec::new();
    for _ in 0..5 {
        small.push(TestRoom::create(&server.db, &bob()).await);
    }
    let token = next(&server.sync(&bob(), None).await);
    let large = TestRoom::create(&server.db, &alice()).await;
    for key in 0..60 {
        let content = json!({ "text": "x".repeat(10_000) });
        let key = key.to_string();
        large
            .state(&server.db, &alice(), "org.test.large", &key, content)
            .await;
    }
    for _ in 0..3 {
        server.sync(&alice(), None).await;
        for room in &small {
            room.message(&server.db, &bob(), "hello").await;
        }
        let (answer, queries) = queries_of(server.sync(&bob(), Some(&token))).await;
        assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 5);
        assert_eq!(queries, [""; 0]);
    }
}

#[tokio::test]
async fn a_client_that_was_away_for_more_changes_than_are_remembered_misses_none() {
    // The changes of two rooms are remembered.
    let server = follow_within(testkit::database().await, 2 * 256 * 32);
    let mut rooms = Vec::new();
    for _ in 0..4 {
        let room = TestRoom::create(&server.db, &alice()).await;
        room.member(&server.db, &bob(), &bob(), "join").await;
        rooms.push(room);
    }
    let set_typing = async |room: &TestRoom, time| {
        let set = server.live.set_typing(&bob(), &room.room_id, time).await;
        assert!(set.expect("the database answers"));
    };
    let long = std::time::Duration::from_mins(1);
    set_typing(&rooms[0], Some(long)).await;
    let before = server.sync(&alice(), None).await;
    let typing = |answer: &serde_json::Value, room: &TestRoom| {
        let section = &answer["rooms"]["join"][room.room_id.as_str()];
        section["ephemeral"]["events"][0]["content"]["user_ids"].clone()
    };
    assert_eq!(typing(&before, &rooms[0]), serde_json::json!([bob()]));
    for room in &rooms {
        set_typing(room, Some(long)).await;
        set_typing(room, None).await;
        room.message(&server.db, &bob(), "sent").await;
    }
    let after = server.sync(&alice(), Some(&next(&before))).await;
    for room in &rooms {
        let section = &after["rooms"]["join"][room.room_id.as_str()];
        assert_eq!(bodies(&section["timeline"]["events"]), ["sent"]);
        assert_eq!(typing(&after, room), serde_json::json!([]));
    }
}
