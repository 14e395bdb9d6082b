//! What each kind of sync may cost: the rows of the design's budget.

use std::sync::atomic::{AtomicUsize, Ordering};

use live::ViewQuery;
use ruma::OwnedUserId;
use serde_json::json;
use storage::memberships::Membership;
use testkit::{TestDatabase, queries_of, room::TestRoom};
use types::SyncToken;

use crate::support::{alice, bob, follow, next, request, server};

#[tokio::test]
async fn a_sync_without_changes_needs_no_query() {
    let server = server().await;
    TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    let token = next(&server.sync(&alice(), Some(&token)).await);
    let (_, queries) = queries_of(server.sync(&alice(), Some(&token))).await;
    assert!(queries.is_empty(), "{queries:?}");
}

#[tokio::test]
async fn a_sync_with_some_messages_needs_no_query() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&alice()).await;
    let token = next(&server.sync(&alice(), Some(&token)).await);
    for n in 0..5 {
        room.message(&server.db, &bob(), &n.to_string()).await;
    }
    let (answer, queries) = queries_of(server.sync(&alice(), Some(&token))).await;
    assert!(answer.get("rooms").is_some());
    assert!(queries.is_empty(), "{queries:?}");
}

#[tokio::test]
async fn one_message_to_many_waiting_users_needs_no_query() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let users: Vec<OwnedUserId> = (0..100)
        .map(|n| format!("@user{n}:test.localhost").try_into().unwrap())
        .collect();
    for user_id in &users {
        room.member(&server.db, user_id, user_id, "join").await;
    }
    let mut waiting = Vec::new();
    for user_id in &users {
        let token = server.token(user_id).await;
        let token = next(&server.sync(user_id, Some(&token)).await);
        let mut waits = request(user_id, Some(&token));
        waits.timeout = std::time::Duration::from_hours(1);
        waiting.push(waits);
    }
    let answers = queries_of(async {
        let mut set = tokio::task::JoinSet::new();
        for waits in waiting {
            let sync = server.sync.clone();
            set.spawn(async move { queries_of(async { sync.v3(&waits).await }).await });
        }
        set.join_all().await
    });
    let alice = alice();
    let ((answers, _), _) = tokio::join!(answers, room.message(&server.db, &alice, "all"));
    for (answer, queries) in answers {
        assert!(answer.unwrap().contains("\"body\":\"all\""));
        assert!(queries.is_empty(), "{queries:?}");
    }
}

#[tokio::test]
async fn only_changed_rooms_are_visited() {
    let server = server().await;
    let mut rooms = Vec::new();
    for _ in 0..20 {
        rooms.push(TestRoom::create(&server.db, &alice()).await);
    }
    let token: SyncToken = server.token(&alice()).await.parse().unwrap();
    let subscription = server.live.subscribe(&alice()).await.unwrap();
    let visited = async || {
        server
            .live
            .wait_until_applied(server.db.database.committed())
            .await;
        let count = AtomicUsize::new(0);
        let of = |_: &Membership| {
            count.fetch_add(1, Ordering::Relaxed);
            true
        };
        let query = ViewQuery {
            since: Some(token),
            of: &of,
        };
        let view = server.live.view(&subscription, &query).await.unwrap();
        (count.load(Ordering::Relaxed), view.rooms.len())
    };
    assert_eq!(visited().await, (0, 0));
    rooms[3].message(&server.db, &alice(), "hello").await;
    assert_eq!(visited().await, (1, 1));
    let time = Some(std::time::Duration::from_secs(20));
    let (alice, room_id) = (alice(), &rooms[4].room_id);
    let is_joined = server.live.set_typing(&alice, room_id, time).await;
    assert!(is_joined.unwrap());
    assert_eq!(visited().await, (2, 2));
}

#[tokio::test]
async fn no_change_is_missed_where_rooms_changed_in_two_ways() {
    let server = server().await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(TestRoom::create(&server.db, &alice()).await);
    }
    let token = server.token(&alice()).await;
    for room in &rooms[..2] {
        room.message(&server.db, &alice(), "hello").await;
    }
    let (alice, time) = (alice(), Some(std::time::Duration::from_secs(20)));
    for room in rooms.iter().rev() {
        let is_joined = server.live.set_typing(&alice, &room.room_id, time).await;
        assert!(is_joined.unwrap());
    }
    let answer = server.sync(&alice, Some(&token)).await;
    assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn first_sync_costs_the_same_for_few_rooms_and_for_many() {
    let mut costs = Vec::new();
    for rooms in [2, 30] {
        let database = testkit::database().await;
        let options = database.options.clone();
        let server = follow(database);
        for _ in 0..rooms {
            let room = TestRoom::create(&server.db, &alice()).await;
            room.message(&server.db, &alice(), "hello").await;
        }
        let restarted = follow(TestDatabase::open(options).await);
        let (answer, queries) = queries_of(restarted.sync(&alice(), None)).await;
        assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), rooms);
        costs.push(queries.len());
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0] > 0 && costs[0] <= 20, "{costs:?}");
}

#[tokio::test]
async fn what_relates_to_events_of_all_rooms_is_read_together() {
    let server = server().await;
    let token = server.token(&alice()).await;
    for number in 0..3 {
        let room = TestRoom::create(&server.db, &alice()).await;
        let root = room
            .message(&server.db, &alice(), &number.to_string())
            .await;
        let relation = json!({ "event_id": root, "rel_type": "m.thread" });
        let content = json!({ "body": "reply", "m.relates_to": relation });
        room.event(&server.db, &alice(), "m.room.message", content)
            .await;
    }
    // The rooms are in memory afterwards.
    server.sync(&alice(), Some(&token)).await;
    let (answer, queries) = queries_of(server.sync(&alice(), Some(&token))).await;
    let rooms = answer["rooms"]["join"].as_object().unwrap();
    for room in rooms.values() {
        let events = room["timeline"]["events"].as_array().unwrap();
        let root = &events[events.len() - 2]["unsigned"]["m.relations"]["m.thread"];
        assert_eq!((&root["count"], rooms.len()), (&json!(1), 3));
        let last = events[events.len() - 1]["event_id"].as_str();
        assert_eq!(root["latest_event"]["event_id"].as_str(), last);
    }
    // Besides what is asked for device lists of new rooms.
    let of_events = queries.iter().filter(|query| query.contains("event_nid"));
    assert_eq!(of_events.count(), 2, "{queries:?}");
}

#[tokio::test]
async fn identical_first_syncs_share_one_computation() {
    let database = testkit::database().await;
    let options = database.options.clone();
    let server = follow(database);
    TestRoom::create(&server.db, &alice()).await;
    let restarted = follow(TestDatabase::open(options.clone()).await);
    let request = request(&alice(), None);
    let (answers, queries) = queries_of(async {
        tokio::join!(
            restarted.ask(&request),
            restarted.ask(&request),
            restarted.ask(&request)
        )
    })
    .await;
    assert_eq!(answers.0["rooms"], answers.2["rooms"]);
    let again = follow(TestDatabase::open(options.clone()).await);
    let (_, alone) = queries_of(again.ask(&request)).await;
    assert_eq!(queries.len(), alone.len(), "{queries:?}");
}

#[tokio::test]
async fn waiting_request_takes_little_memory() {
    let server = server().await;
    let token = server.token(&alice()).await;
    let waits = request(&alice(), Some(&token));
    let size = size_of_val(&server.sync.v3(&waits));
    assert!(size < 2048, "{size} bytes");
}
