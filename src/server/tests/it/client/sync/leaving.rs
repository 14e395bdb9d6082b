//! Rooms that the user has left, as `/sync` tells of them.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, filter, since};

/// The events of one part of a room that was left.
fn events<'a>(answer: &'a Value, room_id: &str, part: &str) -> &'a [Value] {
    let events = &answer["rooms"]["leave"][room_id][part]["events"];
    events.as_array().map_or(&[], Vec::as_slice)
}

/// Whether the room is returned as left, with the event by which the user left.
fn has_leave_event(answer: &Value, room_id: &str, user: &TestUser) -> bool {
    ["state", "timeline"]
        .into_iter()
        .flat_map(|part| events(answer, room_id, part))
        .filter(|event| event["state_key"] == user.user_id)
        .any(|event| event["content"]["membership"] == "leave")
}

#[tokio::test]
async fn left_room_is_in_leave_once_and_with_include_leave() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let hidden = json!([{
        "type": "m.room.history_visibility", "content": { "history_visibility": "joined" },
    }]);
    let room_id = alice
        .create_room(json!({ "preset": "public_chat", "initial_state": hidden }))
        .await;
    bob.join(&room_id).await.ok();
    let before = bob.since().await;
    bob.leave(&room_id).await.ok();
    alice.send_text(&room_id, "after").await;

    let news = bob.sync(&before).await;
    assert!(has_leave_event(&news, &room_id, &bob), "{news}");
    assert_eq!(events(&news, &room_id, "timeline").len(), 1);
    assert!(events(&news, &room_id, "state").is_empty());
    let archived = filter(&json!({ "room": { "include_leave": true } }));
    for query in [
        archived.clone(),
        format!("{before}&{archived}&full_state=true"),
    ] {
        let answer = bob.sync(&query).await;
        assert!(
            has_leave_event(&answer, &room_id, &bob),
            "{query}: {answer}"
        );
    }
    let fresh = bob.sync("").await;
    assert_eq!(fresh["rooms"]["leave"].get(&room_id), None);
}

#[tokio::test]
async fn left_room_is_in_leave_once_despite_other_activity() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let left = alice.create_room(json!({ "preset": "public_chat" })).await;
    let busy = alice.create_room(json!({ "preset": "public_chat" })).await;
    bob.join(&left).await.ok();
    bob.join(&busy).await.ok();
    let short = json!({ "room": { "timeline": { "limit": 1 }, "include_leave": true } });
    let short = filter(&short);
    let before = alice.since().await;
    alice.leave(&left).await.ok();
    for number in 0..3 {
        bob.send_text(&busy, &number.to_string()).await;
    }
    let answer = alice.sync(&format!("{before}&{short}")).await;
    assert!(has_leave_event(&answer, &left, &alice), "{answer}");
    let timeline = &answer["rooms"]["join"][&busy]["timeline"];
    assert_eq!(timeline["limited"], true);

    let member = json!({ "membership": "join", "displayname": "Robert" });
    bob.set_state(&left, "m.room.member", &bob.user_id, member)
        .await
        .ok();
    bob.send_text(&busy, "more").await;
    let answer = alice.sync(&format!("{}&{short}", since(&answer))).await;
    assert!(answer["rooms"]["join"][&busy].is_object(), "{answer}");
    assert_eq!(answer["rooms"].get("leave"), None);
}

#[tokio::test]
async fn archived_room_is_shown_as_it_was_when_the_user_left() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let before = bob.since().await;
    for moment in ["before", "after"] {
        alice.send_text(&room_id, moment).await;
        alice
            .set_state(&room_id, "org.example", "", json!({ "at": moment }))
            .await
            .ok();
        if moment == "before" {
            bob.leave(&room_id).await.ok();
        }
    }

    let chosen = filter(&json!({ "room": {
        "timeline": { "types": ["m.room.message", "org.example"] },
        "state": { "types": ["org.example"] },
        "include_leave": true,
    } }));
    let no_timeline =
        filter(&json!({ "room": { "timeline": { "limit": 0 }, "include_leave": true } }));
    for from in ["", &before] {
        let answer = bob.sync(&format!("{from}&{chosen}")).await;
        let timeline = events(&answer, &room_id, "timeline");
        assert_eq!(timeline.len(), 2, "{answer}");
        assert_eq!(timeline[0]["content"]["body"], "before");
        assert_eq!(timeline[1]["content"]["at"], "before");
        assert!(events(&answer, &room_id, "state").is_empty(), "{answer}");

        let answer = bob.sync(&format!("{from}&{no_timeline}")).await;
        let section = &answer["rooms"]["leave"][&room_id];
        assert_eq!(section["timeline"]["events"], json!([]));
        assert!(has_leave_event(&answer, &room_id, &bob), "{answer}");
        let mut example = events(&answer, &room_id, "state")
            .iter()
            .filter(|event| event["type"] == "org.example");
        assert_eq!(example.next().unwrap()["content"]["at"], "before");
    }
}

#[tokio::test]
async fn rejected_invite_is_in_leave_until_the_room_is_joined() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let deserted = alice.create_room(json!({ "preset": "private_chat" })).await;
    for room_id in [&room_id, &deserted] {
        alice.invite(room_id, &bob).await.ok();
    }
    let invited = bob.sync("").await;
    alice.leave(&deserted).await.ok();
    for room_id in [&room_id, &deserted] {
        assert!(invited["rooms"]["invite"][room_id].is_object(), "{invited}");
        bob.leave(room_id).await.ok();
    }
    assert_eq!(alice.membership(&room_id, &bob).await, "leave");
    for full in ["", "&full_state=true"] {
        let rejected = bob.sync(&format!("{}{full}", since(&invited))).await;
        for room_id in [&room_id, &deserted] {
            assert!(has_leave_event(&rejected, room_id, &bob), "{rejected}");
        }
        assert_eq!(rejected["rooms"].get("invite"), None);
    }

    bob.join(&room_id).await.ok();
    let full = format!("{}&full_state=true", since(&invited));
    let joined = bob.sync(&full).await;
    assert!(joined["rooms"]["join"][&room_id].is_object(), "{joined}");
    assert_eq!(joined["rooms"]["leave"].get(&room_id), None);
}
