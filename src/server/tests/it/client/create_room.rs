//! `/createRoom`.

use serde_json::{Value, json};

use crate::app::{TestApp, encoded};

#[tokio::test]
async fn preset_decides_join_rule_history_and_guest_access() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for (preset, join_rule, guests) in [
        ("private_chat", "invite", Some("can_join")),
        ("trusted_private_chat", "invite", Some("can_join")),
        // Without the event they are forbidden.
        ("public_chat", "public", None),
    ] {
        let room_id = alice.create_room(json!({ "preset": preset })).await;
        let rule = alice.state(&room_id, "m.room.join_rules", "").await.ok();
        assert_eq!(rule["join_rule"], join_rule, "{preset}");
        let history = alice
            .state(&room_id, "m.room.history_visibility", "")
            .await
            .ok();
        assert_eq!(history["history_visibility"], "shared", "{preset}");
        let access = alice.state(&room_id, "m.room.guest_access", "").await;
        match guests {
            Some(guests) => assert_eq!(access.ok()["guest_access"], guests, "{preset}"),
            None => assert_eq!(access.refused(), (404, "M_NOT_FOUND"), "{preset}"),
        }
    }
}

#[tokio::test]
async fn visibility_chooses_the_preset_when_none_is_given() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for (visibility, join_rule) in [("public", "public"), ("private", "invite")] {
        let room_id = alice.create_room(json!({ "visibility": visibility })).await;
        let rule = alice.state(&room_id, "m.room.join_rules", "").await.ok();
        assert_eq!(rule["join_rule"], join_rule, "{visibility}");
    }
}

#[tokio::test]
async fn name_and_topic_are_set_after_initial_state() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let initial = json!([{ "type": "m.room.topic", "content": { "topic": "Overwritten" } }]);
    let room_id = alice
        .create_room(json!({ "name": "Budget", "topic": "Next year", "initial_state": initial }))
        .await;
    assert_eq!(
        alice.state(&room_id, "m.room.name", "").await.ok()["name"],
        "Budget"
    );
    let topic = alice.state(&room_id, "m.room.topic", "").await.ok();
    assert_eq!(topic["topic"], "Next year");
    assert_eq!(topic["m.topic"]["m.text"][0]["body"], "Next year");
}

#[tokio::test]
async fn initial_state_is_kept_as_given() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let initial = json!([
        { "type": "m.room.topic", "state_key": "", "content": { "topic": "Plain" } },
        { "type": "org.example", "state_key": "key", "content": { "a": [1, 2] } },
        { "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" } },
    ]);
    let room_id = alice.create_room(json!({ "initial_state": initial })).await;
    let topic = alice.state(&room_id, "m.room.topic", "").await.ok();
    assert_eq!(topic, json!({ "topic": "Plain" }));
    assert_eq!(
        alice.state(&room_id, "org.example", "key").await.ok(),
        json!({ "a": [1, 2] })
    );
    let encryption = alice.state(&room_id, "m.room.encryption", "").await.ok();
    assert_eq!(encryption["algorithm"], "m.megolm.v1.aes-sha2");
}

#[tokio::test]
async fn each_supported_version_can_be_created() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for version in 3..=12 {
        let version = version.to_string();
        let room_id = alice.create_room(json!({ "room_version": version })).await;
        let create = alice.state(&room_id, "m.room.create", "").await.ok();
        assert_eq!(create["room_version"], version);
        alice.send_text(&room_id, "hello").await;
    }
}

#[tokio::test]
async fn unknown_version_is_unsupported() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for version in ["ahfgwjyerhgiuveisbruvybseyrugvi", "999", ""] {
        let answer = alice
            .post(
                "/_matrix/client/v3/createRoom",
                json!({ "room_version": version }),
            )
            .await;
        assert_eq!(answer.status, 400, "{version:?}: {}", answer.body);
    }
    let answer = alice
        .post(
            "/_matrix/client/v3/createRoom",
            json!({ "room_version": "999" }),
        )
        .await;
    assert_eq!(answer.refused(), (400, "M_UNSUPPORTED_ROOM_VERSION"));
}

#[tokio::test]
async fn creation_content_cannot_set_the_version() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let content = json!({ "room_version": "test", "test": "azerty", "m.federate": false });
    let room_id = alice
        .create_room(json!({ "creation_content": content }))
        .await;
    let create = alice.state(&room_id, "m.room.create", "").await.ok();
    assert_eq!(create["room_version"], "12");
    assert_eq!(create["test"], "azerty");
    assert_eq!(create["m.federate"], false);
}

#[tokio::test]
async fn invited_users_are_invited_and_trusted_ones_hold_the_creators_power() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice
        .create_room(json!({
            "invite": [bob.user_id], "preset": "trusted_private_chat", "is_direct": true,
            "room_version": "11",
        }))
        .await;
    let invite = alice
        .state(&room_id, "m.room.member", &bob.user_id)
        .await
        .ok();
    assert_eq!(invite["membership"], "invite");
    assert_eq!(invite["is_direct"], true);
    let power = alice.state(&room_id, "m.room.power_levels", "").await.ok();
    assert_eq!(power["users"][&bob.user_id], 100);
}

#[tokio::test]
async fn power_levels_can_be_overridden_and_name_every_default() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let levels = json!({ "events_default": 10, "users": {} });
    let room_id = alice
        .create_room(json!({ "power_level_content_override": levels }))
        .await;
    let power = alice.state(&room_id, "m.room.power_levels", "").await.ok();
    assert_eq!(power["events_default"], 10);
    for key in [
        "ban",
        "kick",
        "redact",
        "state_default",
        "users_default",
        "invite",
    ] {
        assert!(power[key].is_i64(), "{key} in {power}");
    }
    assert_eq!(power["users"].get(&alice.user_id), None);
}

#[tokio::test]
async fn taken_alias_creates_no_room() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    alice
        .create_room(json!({ "room_alias_name": "taken" }))
        .await;
    let rooms = joined_rooms(&alice.get("/_matrix/client/v3/joined_rooms").await.ok());
    let answer = alice
        .post(
            "/_matrix/client/v3/createRoom",
            json!({ "room_alias_name": "taken" }),
        )
        .await;
    assert_eq!(answer.refused(), (400, "M_ROOM_IN_USE"));
    assert_eq!(
        joined_rooms(&alice.get("/_matrix/client/v3/joined_rooms").await.ok()),
        rooms
    );
}

#[tokio::test]
async fn new_room_is_among_the_joined_rooms() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({})).await;
    let rooms = joined_rooms(&alice.get("/_matrix/client/v3/joined_rooms").await.ok());
    assert_eq!(rooms, [room_id]);
    let none = joined_rooms(&bob.get("/_matrix/client/v3/joined_rooms").await.ok());
    assert!(none.is_empty());
}

fn joined_rooms(answer: &Value) -> Vec<String> {
    let rooms = answer["joined_rooms"].as_array().unwrap();
    rooms
        .iter()
        .map(|room| room.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn invites_to_public_rooms_are_left_to_moderators() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for (preset, level) in [
        ("public_chat", 50),
        ("private_chat", 0),
        ("trusted_private_chat", 0),
    ] {
        let room_id = alice.create_room(json!({ "preset": preset })).await;
        let levels = alice.state(&room_id, "m.room.power_levels", "").await.ok();
        assert_eq!(levels["invite"], level, "{preset}");
    }
}

#[tokio::test]
async fn successor_of_a_room_takes_over_its_push_rules() {
    let app = TestApp::start().await;
    let (alice, bob, old) = app.public_room().await;
    let rules = |kind: &str, id: &str| {
        format!("/_matrix/client/v3/pushrules/global/{kind}/{}", encoded(id))
    };
    let mute = json!({ "actions": [], "conditions": [
        { "kind": "event_match", "key": "room_id", "pattern": old },
    ] });
    for user in [&alice, &bob] {
        user.put(&rules("room", &old), json!({ "actions": ["notify"] }))
            .await
            .ok();
        user.put(&rules("override", &old), mute.clone()).await.ok();
    }
    let predecessor = json!({ "predecessor": { "room_id": old, "event_id": "$last" } });
    let new = alice
        .create_room(json!({ "preset": "public_chat", "creation_content": predecessor }))
        .await;
    bob.join(&new).await.ok();
    for user in [&alice, &bob] {
        let room = user.get(&rules("room", &new)).await.ok();
        assert_eq!(room["actions"], json!(["notify"]));
        let mute = user.get(&rules("override", &new)).await.ok();
        assert_eq!(mute["conditions"][0]["pattern"], new);
        assert_eq!(mute["actions"], json!([]));
    }
}
