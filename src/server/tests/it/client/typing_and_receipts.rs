//! `/typing`, `/receipt` and `/read_markers`.

use serde_json::{Value, json};

use crate::app::{TestApp, encoded, filter, since};

#[tokio::test]
async fn only_members_type_and_only_for_themselves() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let path = |user_id: &str| {
        format!(
            "/_matrix/client/v3/rooms/{room_id}/typing/{}",
            encoded(user_id)
        )
    };
    let typing = json!({ "typing": true, "timeout": 10_000 });
    alice.put(&path(&alice.user_id), typing.clone()).await.ok();
    alice
        .put(&path(&alice.user_id), json!({ "typing": false }))
        .await
        .ok();
    let other = alice.put(&path(&bob.user_id), typing.clone()).await;
    assert_eq!(other.refused(), (403, "M_FORBIDDEN"));
    let stranger = bob.put(&path(&bob.user_id), typing).await;
    assert_eq!(stranger.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn receipts_are_accepted_from_members_only() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let event_id = alice.send_text(&room_id, "hello").await;
    for receipt_type in ["m.read", "m.read.private", "m.fully_read"] {
        let action = format!("receipt/{receipt_type}/{event_id}");
        alice.room(&room_id, &action, json!({})).await.ok();
        let answer = bob.room(&room_id, &action, json!({})).await;
        assert_eq!(answer.refused(), (403, "M_FORBIDDEN"), "{receipt_type}");
    }
    let unknown = format!("receipt/org.example/{event_id}");
    assert_eq!(alice.room(&room_id, &unknown, json!({})).await.status, 400);
    let markers = json!({ "m.fully_read": event_id, "m.read": event_id });
    alice
        .room(&room_id, "read_markers", markers.clone())
        .await
        .ok();
    let answer = bob.room(&room_id, "read_markers", markers).await;
    assert_eq!(answer.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn typing_comes_down_to_members_until_it_stops() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let stranger = app.user("stranger").await;
    let path = format!(
        "/_matrix/client/v3/rooms/{room_id}/typing/{}",
        encoded(&alice.user_id)
    );
    let (mut members, strangers) = (bob.since().await, stranger.since().await);
    for (typing, typists) in [
        (
            json!({ "typing": true, "timeout": 30_000 }),
            json!([alice.user_id]),
        ),
        (json!({ "typing": false }), json!([])),
    ] {
        alice.put(&path, typing).await.ok();
        let answer = bob.sync(&members).await;
        let events = &answer["rooms"]["join"][&room_id]["ephemeral"]["events"];
        let expected = json!([{ "type": "m.typing", "content": { "user_ids": typists } }]);
        assert_eq!(*events, expected);
        members = since(&answer);
    }
    assert_eq!(stranger.sync(&strangers).await.get("rooms"), None);
}

#[tokio::test]
async fn what_a_user_has_read_comes_down_to_the_user_too() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let event_id = alice.send_text(&room_id, "hello").await;
    let before = alice.since().await;
    let markers = json!({ "m.fully_read": event_id, "m.read": event_id });
    alice.room(&room_id, "read_markers", markers).await.ok();
    for query in [&before, ""] {
        let answer = alice.sync(query).await;
        let room = &answer["rooms"]["join"][&room_id];
        let receipt = &room["ephemeral"]["events"][0];
        let read = &receipt["content"][&event_id]["m.read"];
        assert!(read[&alice.user_id]["ts"].is_u64(), "{receipt}");
        assert_eq!(receipt.get("room_id"), None);
        let marker = &room["account_data"]["events"][0];
        assert_eq!(marker["type"], "m.fully_read");
        assert_eq!(marker["content"], json!({ "event_id": event_id }));
    }
}

/// The counts of notifications and of highlights.
fn counts(counts: &Value) -> [u64; 2] {
    ["notification_count", "highlight_count"].map(|name| counts[name].as_u64().unwrap_or(0))
}

#[tokio::test]
async fn threads_are_read_and_counted_apart() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let root = alice.send_text(&room_id, "root").await;
    let reply = async |text: &str| {
        let thread = json!({ "rel_type": "m.thread", "event_id": root });
        let body = json!({ "msgtype": "m.text", "body": text, "m.relates_to": thread });
        alice.send(&room_id, &encoded(text), body).await
    };
    let first = reply("first").await;
    reply(&format!("second, {}!", bob.user_id)).await;
    let call = alice
        .send_text(&room_id, &format!("call, {}!", bob.user_id))
        .await;
    reply("last").await;
    let send = async |event_type: &str, event_id: &str, rel_type: &str| {
        let relation = json!({ "rel_type": rel_type, "event_id": event_id, "key": "+" });
        let path = format!("/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{rel_type}");
        let body = json!({ "msgtype": "m.text", "body": "x", "m.relates_to": relation });
        let answer = alice.put(&path, body).await.ok();
        answer["event_id"].as_str().unwrap().to_owned()
    };
    let reference = send("m.room.message", &root, "m.reference").await;
    let reaction = send("m.reaction", &reference, "m.annotation").await;

    let apart = json!({ "room": { "timeline": { "unread_thread_notifications": true } } });
    let apart = filter(&apart);
    let before = bob.since().await;
    for (event_id, thread, whole, main, in_thread) in [
        (None, None, [6, 2], [3, 1], [3, 1]),
        (Some(&root), Some("main"), [5, 2], [2, 1], [3, 1]),
        (Some(&first), Some(&*root), [4, 2], [2, 1], [2, 1]),
        (Some(&call), None, [2, 0], [1, 0], [1, 0]),
        // Of the thread it has read what came before, not what was said outside it.
        (Some(&reaction), Some(&*root), [1, 0], [1, 0], [0, 0]),
    ] {
        if let Some(event_id) = event_id {
            let body = thread.map_or(json!({}), |thread| json!({ "thread_id": thread }));
            let action = format!("receipt/m.read/{event_id}");
            bob.room(&room_id, &action, body).await.ok();
            let answer = bob.sync(&before).await;
            let events = &answer["rooms"]["join"][&room_id]["ephemeral"]["events"];
            let receipt = &events[0]["content"][event_id]["m.read"][&bob.user_id];
            assert_eq!(receipt["thread_id"].as_str(), thread, "{events}");
        }
        let answer = bob.sync("").await;
        let room = &answer["rooms"]["join"][&room_id];
        assert_eq!(counts(&room["unread_notifications"]), whole);
        assert_eq!(room.get("unread_thread_notifications"), None);
        let answer = bob.sync(&apart).await;
        let room = &answer["rooms"]["join"][&room_id];
        assert_eq!(counts(&room["unread_notifications"]), main);
        let threads = &room["unread_thread_notifications"];
        assert_eq!(counts(&threads[&root]), in_thread);
    }
}

#[tokio::test]
async fn unthreaded_receipt_is_preferred_over_a_threaded_one() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let root = alice.send_text(&room_id, "root").await;
    let thread = json!({ "rel_type": "m.thread", "event_id": root });
    let body = json!({ "msgtype": "m.text", "body": "reply", "m.relates_to": thread });
    let reply = alice.send(&room_id, "reply", body).await;
    for body in [json!({}), json!({ "thread_id": root })] {
        let action = format!("receipt/m.read/{reply}");
        alice.room(&room_id, &action, body).await.ok();
        let answer = alice.sync("").await;
        let events = &answer["rooms"]["join"][&room_id]["ephemeral"]["events"];
        let receipt = &events[0]["content"][&reply]["m.read"][&alice.user_id];
        assert!(receipt["ts"].is_u64(), "{events}");
        assert_eq!(receipt.get("thread_id"), None, "{events}");
    }
}

#[tokio::test]
async fn receipt_for_a_thread_without_the_event_is_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let root = alice.send_text(&room_id, "root").await;
    let other = alice.send_text(&room_id, "other").await;
    let thread = json!({ "rel_type": "m.thread", "event_id": root });
    let body = json!({ "msgtype": "m.text", "body": "reply", "m.relates_to": thread });
    let reply = alice.send(&room_id, "reply", body).await;
    for (event_id, thread_id) in [(&other, &*root), (&reply, "main"), (&reply, "")] {
        let action = format!("receipt/m.read/{event_id}");
        let answer = alice
            .room(&room_id, &action, json!({ "thread_id": thread_id }))
            .await;
        assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{thread_id}");
    }
}
