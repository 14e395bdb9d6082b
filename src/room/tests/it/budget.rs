//! What an operation may cost on a warm server: the statements that it runs.

use futures::future::join_all;
use room::NewMessage;
use serde_json::json;
use testkit::Queries;

use crate::support::{Server, alice, backwards, bob, message, raw, reader, transaction};

/// The statements since the last call, without the heartbeat of the feed.
fn statements(queries: &Queries) -> Vec<String> {
    let is_heartbeat = |statement: &String| statement.starts_with("SELECT position FROM");
    let mut statements = queries.take();
    statements.retain(|statement| !is_heartbeat(statement));
    statements
}

#[tokio::test]
async fn sending_to_a_cached_room_reads_nothing_and_commits_once() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let queries = Queries::listen();
    server
        .send_text(&room_id, &bob(), "hello")
        .await
        .expect("sent");
    assert_eq!(
        statements(&queries),
        [
            "BEGIN; SET LOCAL plan_cache_mode …",
            "WITH locked AS ( …",
            "WITH taken AS (UPDATE …",
            "COMMIT"
        ]
    );
    server
        .send_text(&room_id, &bob(), "hello")
        .await
        .expect("sent before");
    assert_eq!(statements(&queries), [""; 0]);
}

#[tokio::test]
async fn state_costs_the_same_and_nothing_when_it_is_set_already() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    // The number of the state key is in memory from then on.
    let square = json!({ "name": "Square" });
    (server.set(&room_id, &alice(), "m.room.name", square).await).expect("set");
    let queries = Queries::listen();
    let name = || json!({ "name": "Plaza" });
    server
        .set(&room_id, &alice(), "m.room.name", name())
        .await
        .expect("set");
    assert_eq!(
        statements(&queries),
        [
            "BEGIN; SET LOCAL plan_cache_mode …",
            "WITH locked AS ( …",
            "WITH taken AS (UPDATE …",
            "COMMIT",
        ]
    );
    server
        .set(&room_id, &alice(), "m.room.name", name())
        .await
        .expect("set");
    assert_eq!(statements(&queries), [""; 0]);
}

#[tokio::test]
async fn concurrent_messages_share_a_commit() {
    let server = Server::start().await;
    let one = server.room(&[&alice(), &bob()]).await;
    let other = server.room(&[&alice(), &bob()]).await;
    let queries = Queries::listen();
    let (alice, bob) = (alice(), bob());
    let sends = (0..50).map(|number| {
        let (sender, room_id) = [(&alice, &one), (&bob, &other)][number % 2];
        let (rooms, sender) = (&server.rooms, transaction(sender, &number.to_string()));
        async move { rooms.send(room_id, &sender, message("hello")).await }
    });
    for sent in join_all(sends).await {
        sent.expect("sent");
    }
    let statements = statements(&queries);
    let batches: Vec<_> = statements.chunks(4).collect();
    assert!(batches.len() <= 3, "{statements:?}");
    for batch in batches {
        assert_eq!(
            batch,
            [
                "BEGIN; SET LOCAL plan_cache_mode …",
                "WITH locked AS ( …",
                "WITH taken AS (UPDATE …",
                "COMMIT"
            ]
        );
    }
}

#[tokio::test]
async fn reading_state_of_a_cached_room_needs_no_query() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let queries = Queries::listen();
    server
        .visible_state(&room_id, &alice())
        .await
        .expect("state");
    server
        .joined_members(&room_id, &alice())
        .await
        .expect("members");
    assert_eq!(statements(&queries), [""; 0]);
}

#[tokio::test]
async fn what_relates_to_events_is_read_only_if_there_is_something() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let alice = alice();
    let root = server.send_text(&room_id, &alice, "root").await;
    let root = root.expect("sent");
    let page = backwards(20);
    let queries = Queries::listen();
    let messages = || server.messages(&room_id, reader(&alice), &page);
    messages().await.expect("a page");
    let plain = statements(&queries).len();
    let relate = async |rel_type: &str| {
        let content = json!({
            "msgtype": "m.text", "body": rel_type,
            "m.relates_to": { "event_id": root, "rel_type": rel_type, "key": "+1" },
        });
        let new = NewMessage {
            content: raw(&content),
            ..message("")
        };
        let sender = transaction(&alice, rel_type);
        server
            .rooms
            .send(&room_id, &sender, new)
            .await
            .expect("sent");
    };
    relate("m.annotation").await;
    statements(&queries);
    messages().await.expect("a page");
    assert_eq!(statements(&queries).len(), plain);
    relate("m.thread").await;
    relate("m.reference").await;
    statements(&queries);
    let found = messages().await.expect("a page");
    assert!(found.contains("latest_event") && found.contains("m.reference"));
    // Whom the reader ignores, the events that relate to those of the page, and the last reply.
    assert_eq!(statements(&queries).len(), plain + 3);
}
