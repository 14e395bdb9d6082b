//! Rooms that the user is in or invited to, as `/sync` tells of them.

use serde_json::{Value, json};

use crate::app::{TestApp, encoded, filter, since};

fn timeline<'a>(answer: &'a Value, room_id: &str) -> &'a [Value] {
    let events = &answer["rooms"]["join"][room_id]["timeline"]["events"];
    events.as_array().map_or(&[], Vec::as_slice)
}

#[tokio::test]
async fn new_room_comes_down_from_its_creation_on() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    for version in ["10", "12"] {
        let body = json!({ "preset": "public_chat", "room_version": version });
        let room_id = alice.create_room(body).await;
        let answer = alice.sync("").await;
        let events = timeline(&answer, &room_id);
        assert_eq!(events[0]["type"], "m.room.create");
        assert_eq!(events[0]["sender"], alice.user_id);
        let has_creator = events[0]["content"]["creator"] == alice.user_id;
        assert_eq!(has_creator, version == "10");
        assert_eq!(events[1]["state_key"], alice.user_id);
        assert_eq!(events[1]["content"]["membership"], "join");

        let topic = json!({ "topic": "Wombles" });
        alice
            .set_state(&room_id, "m.room.topic", "", topic.clone())
            .await
            .ok();
        let answer = alice.sync(&since(&answer)).await;
        let events = timeline(&answer, &room_id);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["content"], topic);
        assert_eq!(events[0]["state_key"], "");

        bob.join(&room_id).await.ok();
        alice.send_text(&room_id, "hello").await;
        let answer = bob.sync("").await;
        let (before, last) = timeline(&answer, &room_id).split_last_chunk::<2>().unwrap();
        for (events, membership) in [(before, "leave"), (&last[..], "join")] {
            for event in events {
                let returned = &event["unsigned"]["membership"];
                assert_eq!(returned, membership, "{event}");
            }
        }
    }
}

#[tokio::test]
async fn summary_counts_who_is_in_the_room_and_who_is_invited() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "invite": [bob.user_id] })).await;
    let counts = |answer: &Value| {
        let summary = &answer["rooms"]["join"][&room_id]["summary"];
        ["m.joined_member_count", "m.invited_member_count"].map(|count| summary[count].clone())
    };
    let invited = alice.sync("").await;
    assert_eq!(counts(&invited), [json!(1), json!(1)]);
    let (alice_since, bob_since) = (since(&invited), bob.since().await);
    bob.join(&room_id).await.ok();
    for answer in [alice.sync(&alice_since).await, bob.sync(&bob_since).await] {
        assert_eq!(counts(&answer), [json!(2), json!(0)], "{answer}");
    }
}

#[tokio::test]
async fn invitation_shows_the_room_as_it_is() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice
        .create_room(json!({ "preset": "private_chat", "name": "Invites room" }))
        .await;
    alice.invite(&room_id, &bob).await.ok();
    let answer = bob.sync("").await;
    let shown = &answer["rooms"]["invite"][&room_id]["invite_state"]["events"];
    for event_type in ["m.room.name", "m.room.join_rules"] {
        let mut events = shown.as_array().unwrap().iter();
        let event = events.find(|event| event["type"] == event_type).unwrap();
        assert_eq!(
            event["content"],
            alice.state(&room_id, event_type, "").await.ok(),
            "{event_type}"
        );
    }
}

#[tokio::test]
async fn changed_profile_comes_down_as_a_change_of_the_member() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    for (field, value) in [
        ("displayname", "Lemur"),
        ("avatar_url", "mxc://a.org/lemur"),
    ] {
        let before = alice.since().await;
        let path = format!(
            "/_matrix/client/v3/profile/{}/{field}",
            encoded(&alice.user_id)
        );
        alice.put(&path, json!({ field: value })).await.ok();
        let answer = alice.sync(&before).await;
        let events = timeline(&answer, &room_id);
        assert_eq!(events.len(), 1, "{answer}");
        assert_eq!(events[0]["state_key"], alice.user_id);
        assert_eq!(events[0]["content"]["membership"], "join");
        assert_eq!(events[0]["content"][field], value);
    }
}

#[tokio::test]
async fn stored_filter_is_applied_to_sync() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    alice.send_text(&room_id, "one").await;
    alice.send_text(&room_id, "two").await;
    let short = json!({ "room": { "timeline": { "limit": 1, "types": ["m.room.message"] } } });
    let path = format!("/_matrix/client/v3/user/{}/filter", encoded(&alice.user_id));
    let stored = alice.post(&path, short.clone()).await.ok();
    let stored = format!("filter={}", stored["filter_id"].as_str().unwrap());
    for query in [stored, filter(&short)] {
        let answer = alice.sync(&query).await;
        let events = timeline(&answer, &room_id);
        assert_eq!(events.len(), 1, "{query}");
        assert_eq!(events[0]["content"]["body"], "two");
    }
}
