//! What former members learn of a room: nothing that came after their last stay but their own
//! membership.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, filter, since};

/// A public room of Alice's with a history visibility.
async fn room_with(alice: &TestUser, history_visibility: &str, join_rule: &str) -> String {
    let initial_state = json!([
        {
            "type": "m.room.history_visibility",
            "content": { "history_visibility": history_visibility },
        },
        { "type": "m.room.join_rules", "content": { "join_rule": join_rule } },
    ]);
    alice
        .create_room(json!({ "preset": "private_chat", "initial_state": initial_state }))
        .await
}

async fn set_topic(user: &TestUser, room_id: &str, topic: &str) {
    user.set_state(room_id, "m.room.topic", "", json!({ "topic": topic }))
        .await
        .ok();
}

/// The events of one part of a room in a response, in either group.
fn events<'a>(response: &'a Value, group: &str, room_id: &str, part: &str) -> Vec<&'a Value> {
    let events = response["rooms"][group][room_id][part]["events"].as_array();
    events.into_iter().flatten().collect()
}

fn topics<'a>(events: &[&'a Value]) -> Vec<&'a str> {
    let topics = events
        .iter()
        .filter(|event| event["type"] == "m.room.topic");
    topics
        .filter_map(|event| event["content"]["topic"].as_str())
        .collect()
}

/// The syncs that return the room to a former member: incremental and initial, with each filter.
fn queries(before: &str) -> Vec<String> {
    let archived = filter(&json!({ "room": { "include_leave": true } }));
    let lazy = filter(&json!({ "room": {
        "include_leave": true,
        "state": { "lazy_load_members": true },
    } }));
    let short = filter(&json!({ "room": { "include_leave": true, "timeline": { "limit": 1 } } }));
    let mut queries = vec![before.to_owned(), format!("{before}&full_state=true")];
    for filter in [archived, lazy, short] {
        for from in ["", before] {
            queries.push(format!("{from}&{filter}"));
            queries.push(format!("{from}&{filter}&full_state=true"));
            queries.push(format!("{from}&{filter}&use_state_after=true"));
            let unstable = "org.matrix.msc4222.use_state_after=true";
            queries.push(format!("{from}&{filter}&{unstable}"));
        }
    }
    queries
}

/// How the membership of a former member changes without a join.
enum LaterChange {
    Ban,
    RejectedInvite,
    WithdrawnKnock,
}

async fn former_member_learns_nothing_later(visibility: &str, change: LaterChange) {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let xenia = app.user("xenia").await;
    let room_id = room_with(&alice, visibility, "knock").await;
    set_topic(&alice, &room_id, "old").await;
    alice.invite(&room_id, &bob).await.ok();
    bob.join(&room_id).await.ok();
    let inside = bob.since().await;
    bob.leave(&room_id).await.ok();
    let outside = bob.since().await;
    set_topic(&alice, &room_id, "secret").await;
    alice.invite(&room_id, &xenia).await.ok();
    xenia.join(&room_id).await.ok();
    let target = json!({ "user_id": bob.user_id });
    match change {
        LaterChange::Ban => {
            alice.room(&room_id, "ban", target).await.ok();
        }
        LaterChange::RejectedInvite => {
            alice.invite(&room_id, &bob).await.ok();
            bob.leave(&room_id).await.ok();
        }
        LaterChange::WithdrawnKnock => {
            let path = format!("/_matrix/client/v3/knock/{}", crate::app::encoded(&room_id));
            bob.post(&path, json!({})).await.ok();
            bob.leave(&room_id).await.ok();
        }
    }
    for before in [inside, outside] {
        for query in queries(&before) {
            let response = bob.sync(&query).await;
            let section = response["rooms"]["leave"][&room_id].to_string();
            assert!(!section.contains("secret"), "{query}: {section}");
            assert!(!section.contains(&xenia.user_id), "{query}: {section}");
        }
    }
}

#[tokio::test]
async fn banned_former_member_learns_nothing_later() {
    former_member_learns_nothing_later("joined", LaterChange::Ban).await;
}

#[tokio::test]
async fn ban_reveals_nothing_of_shared_history_either() {
    former_member_learns_nothing_later("shared", LaterChange::Ban).await;
}

#[tokio::test]
async fn former_member_who_rejects_an_invite_learns_nothing_later() {
    former_member_learns_nothing_later("joined", LaterChange::RejectedInvite).await;
}

#[tokio::test]
async fn former_member_who_withdraws_a_knock_learns_nothing_later() {
    former_member_learns_nothing_later("joined", LaterChange::WithdrawnKnock).await;
}

#[tokio::test]
async fn own_ban_is_visible_at_every_endpoint_and_nothing_with_it() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = room_with(&alice, "joined", "public").await;
    bob.join(&room_id).await.ok();
    let before = bob.since().await;
    bob.leave(&room_id).await.ok();
    set_topic(&alice, &room_id, "secret").await;
    let target = json!({ "user_id": bob.user_id });
    alice.room(&room_id, "ban", target).await.ok();
    let response = bob.sync(&before).await;
    let timeline = events(&response, "leave", &room_id, "timeline");
    let ban = timeline.last().expect("the ban");
    assert_eq!(ban["content"]["membership"], "ban");
    let event_id = ban["event_id"].as_str().expect("id");
    assert_eq!(
        bob.event(&room_id, event_id).await.ok()["event_id"],
        event_id
    );
    let path = format!("/_matrix/client/v3/rooms/{room_id}/context/{event_id}");
    let context = bob.get(&path).await.ok();
    assert_eq!(context["event"]["event_id"], event_id);
    let lazy = filter(&json!({ "lazy_load_members": true }));
    let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b&{lazy}");
    let messages = bob.get(&path).await.ok();
    assert_eq!(messages["chunk"][0]["event_id"], event_id);
    for body in [context, messages] {
        assert!(!body.to_string().contains("secret"), "{body}");
    }
}

#[tokio::test]
async fn lazy_loading_brings_the_senders_in_a_left_room() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let before = bob.since().await;
    alice.send_text(&room_id, "bye").await;
    bob.leave(&room_id).await.ok();
    let lazy = filter(&json!({ "room": { "state": { "lazy_load_members": true } } }));
    let response = bob.sync(&format!("{before}&{lazy}")).await;
    let state = events(&response, "leave", &room_id, "state");
    let members: Vec<_> = state.iter().map(|event| &event["state_key"]).collect();
    let senders = [&alice, &bob].map(|user| json!(user.user_id));
    assert_eq!(members, senders.iter().collect::<Vec<_>>(), "{response}");
}

#[tokio::test]
async fn initial_sync_lists_rooms_that_the_user_was_removed_from() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let mut rooms = Vec::new();
    let before = bob.since().await;
    for action in ["kick", "ban", "leave"] {
        let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
        bob.join(&room_id).await.ok();
        if action == "leave" {
            bob.leave(&room_id).await.ok();
        } else {
            let target = json!({ "user_id": bob.user_id });
            alice.room(&room_id, action, target).await.ok();
        }
        rooms.push(room_id);
    }
    let is_listed = async || {
        let response = bob.sync("").await;
        let left = response["rooms"]["leave"].as_object().cloned();
        let left = left.unwrap_or_default();
        rooms
            .iter()
            .map(|room_id| left.contains_key(room_id))
            .collect::<Vec<_>>()
    };
    assert_eq!(is_listed().await, [true, true, false]);
    let answer = bob.sync(&before).await;
    let left = answer["rooms"]["leave"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    assert!(
        rooms.iter().all(|room_id| left.contains_key(room_id)),
        "{left:?}"
    );
    bob.room(&rooms[0], "forget", json!({})).await.ok();
    assert_eq!(is_listed().await, [false, true, false]);
}

/// What a client has as the room's topic and Carol's membership, and whether the timeline is cut.
fn folded(response: &Value, room_id: &str, carol: &TestUser) -> (Value, Value, bool) {
    let (mut topic, mut membership) = (Value::Null, Value::Null);
    for part in ["state", "timeline"] {
        for event in events(response, "join", room_id, part) {
            if event["type"] == "m.room.topic" {
                topic = event["content"]["topic"].clone();
            }
            if event["state_key"] == carol.user_id {
                membership = event["content"]["membership"].clone();
            }
        }
    }
    let limited = response["rooms"]["join"][room_id]["timeline"]["limited"] == true;
    (topic, membership, limited)
}

#[tokio::test]
async fn timeline_is_cut_where_newer_state_is_hidden() {
    for visibility in ["joined", "invited"] {
        let app = TestApp::start().await;
        let (alice, bob) = (app.user("alice").await, app.user("bob").await);
        let carol = app.user("carol").await;
        let room_id = room_with(&alice, visibility, "public").await;
        carol.join(&room_id).await.ok();
        bob.join(&room_id).await.ok();
        let before = bob.since().await;
        set_topic(&alice, &room_id, "old").await;
        carol.leave(&room_id).await.ok();
        bob.leave(&room_id).await.ok();
        set_topic(&alice, &room_id, "new").await;
        carol.join(&room_id).await.ok();
        bob.join(&room_id).await.ok();
        alice.send_text(&room_id, "hello").await;
        for from in ["", &before] {
            let response = bob.sync(from).await;
            let (topic, membership, limited) = folded(&response, &room_id, &carol);
            assert_eq!(
                (topic, membership),
                (json!("new"), json!("join")),
                "{response}"
            );
            assert!(limited, "{response}");
            let timeline = events(&response, "join", &room_id, "timeline");
            assert!(topics(&timeline).is_empty(), "{response}");
        }
    }
}

#[tokio::test]
async fn timeline_is_cut_where_newer_state_is_filtered_out() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let levels = json!({ "users": { (&bob.user_id): 50 } });
    alice
        .set_state(&room_id, "m.room.power_levels", "", levels)
        .await
        .ok();
    let reader = app.user("reader").await;
    reader.join(&room_id).await.ok();
    let before = reader.since().await;
    set_topic(&alice, &room_id, "old").await;
    set_topic(&bob, &room_id, "new").await;
    let last = alice.send_text(&room_id, "hello").await;
    let unwanted = filter(&json!({ "room": { "timeline": { "not_senders": [bob.user_id] } } }));
    for from in ["", &before] {
        let response = reader.sync(&format!("{from}&{unwanted}")).await;
        let state = events(&response, "join", &room_id, "state");
        assert_eq!(topics(&state), ["new"], "{response}");
        let timeline = events(&response, "join", &room_id, "timeline");
        assert!(topics(&timeline).is_empty(), "{response}");
        assert_eq!(timeline.last().unwrap()["event_id"], last);
        let section = &response["rooms"]["join"][&room_id]["timeline"];
        assert_eq!(section["limited"], true);
        let prev_batch = section["prev_batch"].as_str().unwrap();
        let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b&limit=2");
        let page = reader.get(&format!("{path}&from={prev_batch}")).await.ok();
        let page: Vec<_> = page["chunk"].as_array().into_iter().flatten().collect();
        assert!(topics(&page).contains(&"old"), "{page:?}");
    }
    let response = reader.sync(&since(&reader.sync("").await)).await;
    assert_eq!(response["rooms"].get("join"), None);
}
