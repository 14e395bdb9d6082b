//! How many notifications are unread.

use ruma::OwnedEventId;
use serde_json::{Value, json};
use testkit::{
    queries_of,
    room::{TestRoom, commit_changes},
};

use crate::support::{Server, alice, bob, filter, mute_for_bob, next, request, server};

/// A room of Alice's that Bob has joined.
async fn room(server: &Server) -> TestRoom {
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    room
}

/// The notification and highlight counts of the room in a response.
fn counts(answer: &Value, room: &TestRoom) -> (u64, u64) {
    let counts = &answer["rooms"]["join"][room.room_id.as_str()]["unread_notifications"];
    let count = |name: &str| counts[name].as_u64().expect("a count");
    (count("notification_count"), count("highlight_count"))
}

/// The counts in an initial sync of Bob's.
async fn bobs(server: &Server, room: &TestRoom) -> (u64, u64) {
    counts(&server.sync(&bob(), None).await, room)
}

async fn read(server: &Server, room: &TestRoom, thread_id: &str, event_id: &OwnedEventId) {
    let receipt = room
        .receipt(&server.db, &bob(), "m.read", thread_id, event_id)
        .await;
    commit_changes(&server.db, [receipt]).await;
}

fn mention() -> Value {
    json!({ "msgtype": "m.text", "body": "you", "m.mentions": { "user_ids": [bob()] } })
}

fn in_thread(root: &OwnedEventId, body: &str) -> Value {
    json!({
        "msgtype": "m.text", "body": body,
        "m.relates_to": { "rel_type": "m.thread", "event_id": root },
    })
}

#[tokio::test]
async fn what_others_sent_since_the_user_joined_is_unread() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.message(&server.db, &alice(), "before").await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&bob()).await;
    room.message(&server.db, &alice(), "after").await;
    room.event(&server.db, &alice(), "m.room.message", mention())
        .await;
    let since = server.sync(&bob(), Some(&token)).await;
    assert_eq!(counts(&since, &room), (2, 1));
    assert_eq!(bobs(&server, &room).await, (2, 1));
    assert_eq!(counts(&server.sync(&alice(), None).await, &room), (0, 0));
}

#[tokio::test]
async fn receipt_leaves_what_came_after_it() {
    let server = server().await;
    let room = room(&server).await;
    room.message(&server.db, &alice(), "one").await;
    let two = room.message(&server.db, &alice(), "two").await;
    room.event(&server.db, &alice(), "m.room.message", mention())
        .await;
    assert_eq!(bobs(&server, &room).await, (3, 1));
    read(&server, &room, "", &two).await;
    assert_eq!(bobs(&server, &room).await, (1, 1));
    assert_eq!(bobs(&server.restarted().await, &room).await, (1, 1));
}

#[tokio::test]
async fn the_receipt_that_is_further_ahead_counts() {
    let server = server().await;
    let room = room(&server).await;
    let one = room.message(&server.db, &alice(), "one").await;
    let two = room.message(&server.db, &alice(), "two").await;
    room.message(&server.db, &alice(), "three").await;
    let private = room
        .receipt(&server.db, &bob(), "m.read.private", "", &two)
        .await;
    commit_changes(&server.db, [private]).await;
    read(&server, &room, "", &one).await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
}

#[tokio::test]
async fn own_message_marks_what_was_before_it_as_read() {
    let server = server().await;
    let room = room(&server).await;
    room.message(&server.db, &alice(), "one").await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
    room.message(&server.db, &bob(), "answer").await;
    assert_eq!(bobs(&server, &room).await, (0, 0));
    room.message(&server.db, &alice(), "two").await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
    assert_eq!(bobs(&server.restarted().await, &room).await, (1, 0));
}

#[tokio::test]
async fn change_of_name_marks_nothing_as_read() {
    let server = server().await;
    let room = room(&server).await;
    room.message(&server.db, &alice(), "one").await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
    let named = json!({ "membership": "join", "displayname": "Robert" });
    room.state(&server.db, &bob(), "m.room.member", bob().as_str(), named)
        .await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
    assert_eq!(bobs(&server.restarted().await, &room).await, (1, 0));
}

#[tokio::test]
async fn redacted_message_is_not_unread() {
    let server = server().await;
    let room = room(&server).await;
    room.message(&server.db, &alice(), "one").await;
    let two = room.message(&server.db, &alice(), "two").await;
    assert_eq!(bobs(&server, &room).await, (2, 0));
    room.redact(&server.db, &alice(), &two).await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
    assert_eq!(bobs(&server.restarted().await, &room).await, (1, 0));
}

#[tokio::test]
async fn edits_and_reactions_add_nothing() {
    let server = server().await;
    let room = room(&server).await;
    let one = room.message(&server.db, &alice(), "one").await;
    let edit = json!({
        "msgtype": "m.text", "body": "* won", "m.new_content": { "msgtype": "m.text", "body": "won" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": one },
    });
    room.event(&server.db, &alice(), "m.room.message", edit)
        .await;
    let reaction =
        json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": one, "key": "+" } });
    room.event(&server.db, &alice(), "m.reaction", reaction)
        .await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
}

#[tokio::test]
async fn muting_a_room_empties_its_count() {
    let server = server().await;
    let room = room(&server).await;
    room.message(&server.db, &alice(), "one").await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
    commit_changes(&server.db, [mute_for_bob(&room)]).await;
    assert_eq!(bobs(&server, &room).await, (0, 0));
}

#[tokio::test]
async fn threads_are_counted_apart_where_the_client_asks() {
    let server = server().await;
    let room = room(&server).await;
    let root = room.message(&server.db, &alice(), "root").await;
    let first = in_thread(&root, "first");
    let first = room
        .event(&server.db, &alice(), "m.room.message", first)
        .await;
    // Related to an event of the thread, and so in it.
    let second = json!({
        "msgtype": "m.text", "body": "second",
        "m.relates_to": { "rel_type": "m.reference", "event_id": first },
    });
    let second = room
        .event(&server.db, &alice(), "m.room.message", second)
        .await;
    let apart = filter(json!({ "room": { "timeline": { "unread_thread_notifications": true } } }));
    let ask = async |server: &Server| {
        let mut request = request(&bob(), None);
        request.filter = apart.clone();
        let answer = server.ask(&request).await;
        let joined = &answer["rooms"]["join"][room.room_id.as_str()];
        let thread = &joined["unread_thread_notifications"][root.as_str()];
        (
            counts(&answer, &room).0,
            thread["notification_count"].as_u64(),
        )
    };
    assert_eq!(ask(&server).await, (1, Some(2)));
    assert_eq!(bobs(&server, &room).await, (3, 0));
    read(&server, &room, root.as_str(), &first).await;
    assert_eq!(ask(&server).await, (1, Some(1)));
    read(&server, &room, "main", &root).await;
    assert_eq!(ask(&server).await, (0, Some(1)));
    let server = server.restarted().await;
    assert_eq!(ask(&server).await, (0, Some(1)));
    read(&server, &room, "", &second).await;
    assert_eq!(ask(&server).await, (0, None));
}

#[tokio::test]
async fn counts_beyond_the_cached_timeline_are_read_from_the_database() {
    let server = server().await;
    let room = room(&server).await;
    let root = room.message(&server.db, &alice(), "root").await;
    for number in 0..5 {
        let reply = in_thread(&root, &number.to_string());
        room.event(&server.db, &alice(), "m.room.message", reply)
            .await;
    }
    for number in 0..80 {
        room.message(&server.db, &alice(), &number.to_string())
            .await;
    }
    let last = room.message(&server.db, &alice(), "last").await;
    assert_eq!(bobs(&server, &room).await, (87, 0));
    // What is in threads was not read with it.
    read(&server, &room, "main", &last).await;
    let server = server.restarted().await;
    assert_eq!(bobs(&server, &room).await, (5, 0));
}

#[tokio::test]
async fn counting_new_messages_needs_no_query() {
    let server = server().await;
    let room = room(&server).await;
    room.message(&server.db, &alice(), "one").await;
    let token = next(&server.sync(&bob(), None).await);
    let two = room.message(&server.db, &alice(), "two").await;
    read(&server, &room, "main", &two).await;
    room.event(&server.db, &alice(), "m.room.message", mention())
        .await;
    let (answer, queries) = queries_of(server.sync(&bob(), Some(&token))).await;
    assert_eq!(counts(&answer, &room), (1, 1));
    assert_eq!(queries, [""; 0]);
}

#[tokio::test]
async fn redacting_a_cached_event_needs_no_query() {
    let server = server().await;
    let room = room(&server).await;
    let one = room.message(&server.db, &alice(), "one").await;
    let you = room
        .event(&server.db, &alice(), "m.room.message", mention())
        .await;
    room.message(&server.db, &alice(), "three").await;
    let token = next(&server.sync(&bob(), None).await);
    for event_id in [&you, &one, &one] {
        room.redact(&server.db, &alice(), event_id).await;
    }
    let (answer, queries) = queries_of(server.sync(&bob(), Some(&token))).await;
    assert_eq!(counts(&answer, &room), (1, 0));
    assert_eq!(queries, [""; 0]);
}

#[tokio::test]
async fn redacting_a_read_event_needs_no_query() {
    let server = server().await;
    let room = room(&server).await;
    let old = room.message(&server.db, &alice(), "old").await;
    for number in 0..80 {
        room.message(&server.db, &alice(), &number.to_string())
            .await;
    }
    let last = room.message(&server.db, &alice(), "last").await;
    read(&server, &room, "", &last).await;
    let token = next(&server.sync(&bob(), None).await);
    room.redact(&server.db, &alice(), &old).await;
    let (answer, queries) = queries_of(server.sync(&bob(), Some(&token))).await;
    assert_eq!(counts(&answer, &room), (0, 0));
    assert_eq!(queries, [""; 0]);
}

#[tokio::test]
async fn redacting_an_own_message_makes_nothing_unread() {
    let server = server().await;
    let room = room(&server).await;
    room.message(&server.db, &alice(), "one").await;
    let own = room.message(&server.db, &bob(), "answer").await;
    room.message(&server.db, &alice(), "two").await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
    room.redact(&server.db, &alice(), &own).await;
    assert_eq!(bobs(&server, &room).await, (1, 0));
    assert_eq!(bobs(&server.restarted().await, &room).await, (1, 0));
}

#[tokio::test]
async fn replies_to_evicted_events_stay_unread() {
    let server = server().await;
    let room = room(&server).await;
    let poll = room.message(&server.db, &alice(), "poll").await;
    for number in 0..80 {
        room.message(&server.db, &alice(), &number.to_string())
            .await;
    }
    let last = room.message(&server.db, &alice(), "last").await;
    read(&server, &room, "", &last).await;
    assert_eq!(bobs(&server, &room).await, (0, 0));
    let plain = room.message(&server.db, &alice(), "plain").await;
    for number in 0..3 {
        let reply = json!({
            "msgtype": "m.text", "body": number.to_string(),
            "m.relates_to": { "rel_type": "m.reference", "event_id": poll },
        });
        room.event(&server.db, &alice(), "m.room.message", reply)
            .await;
    }
    assert_eq!(bobs(&server, &room).await, (4, 0));
    read(&server, &room, "", &plain).await;
    assert_eq!(bobs(&server, &room).await, (3, 0));
}

#[tokio::test]
async fn of_concurrent_receipts_the_furthest_remains() {
    let server = server().await;
    let room = room(&server).await;
    let one = room.message(&server.db, &alice(), "one").await;
    let two = room.message(&server.db, &alice(), "two").await;
    bobs(&server, &room).await;
    let bob = bob();
    let receipt = |event_id| room.receipt(&server.db, &bob, "m.read", "", event_id);
    let (far, near) = (receipt(&two).await, receipt(&one).await);
    commit_changes(&server.db, [far, near.clone()]).await;
    assert_eq!(bobs(&server, &room).await, (0, 0));
    commit_changes(&server.db, [near]).await;
    assert_eq!(bobs(&server, &room).await, (0, 0));
    assert_eq!(bobs(&server.restarted().await, &room).await, (0, 0));
}

#[tokio::test]
async fn lower_count_is_returned_even_if_receipts_are_filtered_out() {
    let server = server().await;
    let room = room(&server).await;
    let one = room.message(&server.db, &alice(), "one").await;
    let token = next(&server.sync(&bob(), None).await);
    read(&server, &room, "", &one).await;
    let mut wants = request(&bob(), Some(&token));
    wants.filter = filter(json!({ "room": { "ephemeral": { "types": [] } } }));
    assert_eq!(counts(&server.ask(&wants).await, &room), (0, 0));
}
