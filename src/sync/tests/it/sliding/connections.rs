//! Connections: what is repeated, what expires, what several processes know, and what is refused.

use std::time::Duration;

use ruma::{device_id, owned_device_id};
use serde_json::Value;
use sync::{Error, sliding_sync::Request};
use testkit::{queries_of, register_device, room::TestRoom};

use super::{Client, config, of, rooms_in};
use crate::support::{MAX_CONNECTIONS, Server, alice, bob, bodies, server};

async fn is_unknown(client: &Client, server: &Server) -> bool {
    matches!(client.try_sync(server).await, Err(Error::UnknownPos))
}

#[tokio::test]
async fn lost_response_is_repeated() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    let answer = client.sync(&server).await;
    let other = TestRoom::create(&server.db, &alice()).await;
    room.message(&server.db, &alice(), "hello").await;
    for _ in 0..5 {
        let lost = client.peek(&server).await;
        assert_eq!(of(&lost, &other)["initial"], true);
        assert_eq!(bodies(&of(&lost, &room)["timeline"]), ["hello"]);
    }
    // With other parameters, too.
    client.list("all", (0, 0), config(1, &[]));
    let answer_now = client.peek(&server).await;
    assert_eq!(rooms_in(&answer_now), 1);
    client.list("all", (0, 9), config(1, &[]));
    client.sync(&server).await;
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    // The first version was given up when a later one was acknowledged.
    room.message(&server.db, &alice(), "again").await;
    TestRoom::create(&server.db, &alice()).await;
    client.sync(&server).await;
    let restarted = server.restarted().await;
    client.go_on(&answer);
    assert!(is_unknown(&client, &restarted).await);
}

#[tokio::test]
async fn position_outlives_the_process() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    client.sync(&server).await;
    let other = server.restarted().await;
    other
        .live
        .wait_until_applied(server.db.database.committed())
        .await;
    assert_eq!(rooms_in(&client.sync(&other).await), 0);
    room.message(&server.db, &alice(), "hello").await;
    let answer = client.sync(&server).await;
    assert_eq!(bodies(&of(&answer, &room)["timeline"]), ["hello"]);
    let restarted = server.restarted().await;
    assert_eq!(rooms_in(&client.sync(&restarted).await), 0);
}

#[tokio::test]
async fn position_is_of_one_connection() {
    let server = server().await;
    TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    client.sync(&server).await;
    let pos = client.request.pos.clone().unwrap();
    let changed = |change: &dyn Fn(&mut Request)| {
        let mut other = client.clone();
        change(&mut other.request);
        other
    };
    let stranger = bob();
    for other in [
        changed(&|request| request.conn_id = "other".to_owned()),
        changed(&|request| request.device_id = owned_device_id!("LAPTOP")),
        changed(&|request| request.user_id.clone_from(&stranger)),
        changed(&|request| request.pos = Some("s1_1".to_owned())),
        changed(&|request| request.pos = Some("nonsense".to_owned())),
        changed(&|request| {
            let (token, rest) = pos.split_once('~').unwrap();
            let (_, tag) = rest.split_once('.').unwrap();
            request.pos = Some(format!("{token}~999.{tag}"));
        }),
    ] {
        assert!(is_unknown(&other, &server).await, "{:?}", other.request);
    }
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
}

#[tokio::test]
async fn connections_are_independent_and_the_oldest_ends() {
    let server = server().await;
    TestRoom::create(&server.db, &alice()).await;
    let mut clients = Vec::new();
    for number in 0..=MAX_CONNECTIONS {
        let mut client = Client::of_all_rooms(&server, &alice()).await;
        client.request.conn_id = format!("connection{number}");
        assert_eq!(rooms_in(&client.sync(&server).await), 1);
        clients.push(client);
    }
    let restarted = server.restarted().await;
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(
            is_unknown(client, &restarted).await,
            number == 0,
            "{number}"
        );
    }
    // Other devices have their own.
    let mut other = clients.pop().unwrap();
    other.request.device_id = owned_device_id!("LAPTOP");
    other.request.pos = None;
    register_device(&server.db.database, &alice(), device_id!("LAPTOP")).await;
    other.sync(&server).await;
    assert!(!is_unknown(&clients.pop().unwrap(), &server.restarted().await).await);
}

#[tokio::test]
async fn unused_connections_expire() {
    let server = server().await;
    TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    client.sync(&server).await;
    let mut db = server.db.database.acquire().await.unwrap();
    let kept = storage::sync_connections::delete_unused(&mut db, Duration::from_hours(1)).await;
    assert_eq!(kept.unwrap(), 0);
    let deleted = storage::sync_connections::delete_unused(&mut db, Duration::ZERO).await;
    assert_eq!(deleted.unwrap(), 1);
    assert!(is_unknown(&client, &server.restarted().await).await);
}

#[tokio::test]
async fn connection_without_rooms_is_not_stored() {
    let server = server().await;
    TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::new(&server, &alice()).await;
    client.request.extensions.e2ee = true;
    client.sync(&server).await;
    let (_, queries) = queries_of(client.sync(&server)).await;
    assert!(queries.is_empty(), "{queries:?}");
    assert!(!is_unknown(&client, &server.restarted().await).await);
}

#[tokio::test]
async fn nothing_new_and_some_messages_need_no_query() {
    let server = server().await;
    let mut rooms = Vec::new();
    for _ in 0..5 {
        let room = TestRoom::create(&server.db, &alice()).await;
        room.member(&server.db, &bob(), &bob(), "join").await;
        rooms.push(room);
    }
    let mut client = Client::new(&server, &alice()).await;
    let required = [("*", "*"), ("m.room.member", "$LAZY")];
    client.list("all", (0, 99), config(1, &required));
    client.request.extensions.receipts = Some(super::everywhere());
    client.sync(&server).await;
    client.sync(&server).await;
    let (answer, queries) = queries_of(client.sync(&server)).await;
    assert_eq!(rooms_in(&answer), 0);
    assert!(queries.is_empty(), "{queries:?}");
    for room in &rooms[..3] {
        room.message(&server.db, &bob(), "hello").await;
    }
    let (answer, queries) = queries_of(client.sync(&server)).await;
    assert_eq!(rooms_in(&answer), 3);
    assert!(queries.is_empty(), "{queries:?}");
}

#[tokio::test]
async fn first_response_costs_the_same_for_few_rooms_and_for_many() {
    let mut costs = Vec::new();
    for rooms in [2, 30] {
        let server = server().await;
        for _ in 0..rooms {
            let room = TestRoom::create(&server.db, &alice()).await;
            room.message(&server.db, &alice(), "hello").await;
        }
        let mut client = Client::of_all_rooms(&server, &alice()).await;
        let restarted = server.restarted().await;
        let (answer, queries) = queries_of(client.sync(&restarted)).await;
        assert_eq!(rooms_in(&answer), rooms);
        costs.push(queries.len());
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0] > 0 && costs[0] <= 22, "{costs:?}");
}

#[tokio::test]
async fn waiting_client_is_answered_by_what_it_asks_for() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let other = TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::new(&server, &alice()).await;
    client.subscribe(&room, config(10, &[]));
    client.sync(&server).await;
    client.request.timeout = Duration::from_hours(1);
    let alice = alice();
    let (answer, ()) = tokio::join!(client.peek(&server), async {
        other.message(&server.db, &alice, "elsewhere").await;
        room.message(&server.db, &alice, "here").await;
    });
    assert_eq!(bodies(&of(&answer, &room)["timeline"]), ["here"]);
    assert_eq!(rooms_in(&answer), 1);
    // At shutdown nobody waits.
    client.go_on(&answer);
    server.stopping.cancel();
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
}

#[tokio::test]
async fn too_much_is_refused() {
    let server = server().await;
    let client = Client::of_all_rooms(&server, &alice()).await;
    let cases: [&dyn Fn(&mut Request); 6] = [
        &|request| request.conn_id = "x".repeat(256),
        &|request| request.txn_id = Some("x".repeat(256)),
        &|request| {
            let list = request.lists["all"].clone();
            let lists = (0..101).map(|n| (n.to_string(), list.clone()));
            request.lists = lists.collect();
        },
        &|request| {
            let rooms = (0..101).map(|n| format!("!{n}:test.localhost").try_into().unwrap());
            request.subscriptions = rooms.map(|room_id| (room_id, config(1, &[]))).collect();
        },
        &|request| {
            request.lists.get_mut("all").unwrap().ranges = Some(vec![(1, 0)]);
        },
        &|request| {
            let list = request.lists.get_mut("all").unwrap();
            list.filters.not_tags = vec!["x".to_owned(); 101];
        },
    ];
    for (number, change) in cases.into_iter().enumerate() {
        let mut other = client.clone();
        change(&mut other.request);
        let refused = other.try_sync(&server).await;
        assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{number}");
    }
    // What is only large is bounded.
    let mut large = client.clone();
    large.list("all", (0, u64::MAX), config(u64::MAX, &[]));
    let answer: Value = large.peek(&server).await;
    assert_eq!(answer["lists"]["all"]["count"], 0);
}
