//! `/rooms/{roomId}/state`.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, encoded};

#[tokio::test]
async fn state_is_read_and_written_with_and_without_a_trailing_slash() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    for (version, slash) in [("r0", ""), ("r0", "/"), ("v3", ""), ("v3", "/")] {
        let path = format!("/_matrix/client/{version}/rooms/{room_id}/state/m.room.name{slash}");
        let name = format!("{version}{slash}");
        assert!(alice.put(&path, json!({ "name": name })).await.ok()["event_id"].is_string());
        assert_eq!(alice.get(&path).await.ok(), json!({ "name": name }));
    }
}

#[tokio::test]
async fn state_event_can_be_requested_in_event_format() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({ "name": "Budget" })).await;
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/m.room.name?format=event");
    let event = alice.get(&path).await.ok();
    assert_eq!(event["content"], json!({ "name": "Budget" }));
    assert_eq!(event["room_id"], room_id);
    assert_eq!(event["sender"], alice.user_id);
    assert_eq!(event["state_key"], "");
}

#[tokio::test]
async fn whole_state_lists_each_event_once() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice
        .create_room(json!({ "name": "Budget", "preset": "public_chat" }))
        .await;
    let state = alice
        .get(&format!("/_matrix/client/v3/rooms/{room_id}/state"))
        .await
        .ok();
    let mut event_types: Vec<&str> = state
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    event_types.sort_unstable();
    assert_eq!(
        event_types,
        [
            "m.room.create",
            "m.room.history_visibility",
            "m.room.join_rules",
            "m.room.member",
            "m.room.name",
            "m.room.power_levels",
        ]
    );
}

#[tokio::test]
async fn setting_the_same_state_twice_makes_one_event() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let first = alice
        .set_state(&room_id, "org.example", "", json!({ "a": 1 }))
        .await
        .ok();
    let second = alice
        .set_state(&room_id, "org.example", "", json!({ "a": 1 }))
        .await
        .ok();
    assert_eq!(first["event_id"], second["event_id"]);
    let third = alice
        .set_state(&room_id, "org.example", "", json!({ "a": 2 }))
        .await
        .ok();
    assert_ne!(first["event_id"], third["event_id"]);
}

#[tokio::test]
async fn absent_state_is_not_found_and_non_members_are_forbidden() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({})).await;
    assert_eq!(
        alice.state(&room_id, "m.room.name", "").await.refused(),
        (404, "M_NOT_FOUND")
    );
    assert_eq!(
        bob.state(&room_id, "m.room.create", "").await.refused(),
        (403, "M_FORBIDDEN")
    );
    let whole = bob
        .get(&format!("/_matrix/client/v3/rooms/{room_id}/state"))
        .await;
    assert_eq!(whole.refused(), (403, "M_FORBIDDEN"));
    let written = bob
        .set_state(&room_id, "m.room.name", "", json!({ "name": "x" }))
        .await;
    assert_eq!(written.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn member_without_power_cannot_set_state() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let answer = bob
        .set_state(&room_id, "m.room.name", "", json!({ "name": "Mine" }))
        .await;
    assert_eq!(answer.refused(), (403, "M_FORBIDDEN"));
    assert_eq!(
        alice.state(&room_id, "m.room.name", "").await.refused(),
        (404, "M_NOT_FOUND")
    );
}

#[tokio::test]
async fn former_member_reads_the_state_at_the_leave() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice
        .create_room(json!({ "preset": "public_chat", "name": "Before" }))
        .await;
    bob.join(&room_id).await.ok();
    bob.leave(&room_id).await.ok();
    alice
        .set_state(&room_id, "m.room.name", "", json!({ "name": "After" }))
        .await
        .ok();
    assert_eq!(
        bob.state(&room_id, "m.room.name", "").await.ok()["name"],
        "Before"
    );
    assert_eq!(
        alice.state(&room_id, "m.room.name", "").await.ok()["name"],
        "After"
    );
}

#[tokio::test]
async fn power_levels_survive_empty_content() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({ "room_version": "11" })).await;
    let own = json!({ "users": { &alice.user_id: 100 } });
    alice
        .set_state(&room_id, "m.room.power_levels", "", own)
        .await
        .ok();
    alice
        .set_state(&room_id, "m.room.power_levels", "", json!({}))
        .await
        .ok();
    let answer = alice
        .set_state(&room_id, "m.room.power_levels", "", json!({ "users": {} }))
        .await;
    assert_eq!(answer.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn creator_in_power_levels_is_refused_in_version_12() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let levels = json!({ "users": { &alice.user_id: 100 } });
    let answer = alice
        .set_state(&room_id, "m.room.power_levels", "", levels)
        .await;
    assert_eq!(answer.status, 400, "{}", answer.body);
}

#[tokio::test]
async fn canonical_alias_must_exist_and_point_to_the_room() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice
        .create_room(json!({ "room_alias_name": "here" }))
        .await;
    alice
        .create_room(json!({ "room_alias_name": "elsewhere" }))
        .await;
    let server = app.server_name();
    let here = format!("#here:{server}");
    let event_type = "m.room.canonical_alias";
    alice
        .set_state(&room_id, event_type, "", json!({ "alias": here }))
        .await
        .ok();
    for wrong in ["nowhere", "elsewhere"] {
        let alias = format!("#{wrong}:{server}");
        let answer = alice
            .set_state(&room_id, event_type, "", json!({ "alias": alias }))
            .await;
        assert_eq!(answer.refused(), (400, "M_BAD_ALIAS"), "{wrong}");
        let content = json!({ "alias": here, "alt_aliases": [alias] });
        let answer = alice.set_state(&room_id, event_type, "", content).await;
        assert_eq!(answer.refused(), (400, "M_BAD_ALIAS"), "{wrong}");
    }
    let answer = alice
        .set_state(&room_id, event_type, "", json!({ "alias": "%here:x" }))
        .await;
    assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn power_levels_of_a_new_room_name_all_levels_and_are_replaced_as_a_whole() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for version in ["11", "12"] {
        let room_id = alice.create_room(json!({ "room_version": version })).await;
        let event_type = "m.room.power_levels";
        let levels = alice.state(&room_id, event_type, "").await.ok();
        assert!(levels["events"].is_object(), "{levels}");
        let own = levels["users"].get(&alice.user_id);
        let expected = json!(100);
        assert_eq!(own, (version == "11").then_some(&expected));

        let mut levels = json!({ "invite": 100, "users": { "@friend:their.home": 20 } });
        if version == "11" {
            levels["users"][&alice.user_id] = expected;
        }
        let set = alice
            .set_state(&room_id, event_type, "", levels.clone())
            .await;
        let event_id = set.ok()["event_id"].take();
        let event = alice.event(&room_id, event_id.as_str().unwrap()).await;
        assert_eq!(event.ok()["content"], levels);
        assert_eq!(alice.state(&room_id, event_type, "").await.ok(), levels);
    }
}

#[tokio::test]
async fn users_default_power_can_be_lowered_by_a_user_with_own_level() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let levels = |default: u8| json!({ "users_default": default, "users": { &bob.user_id: 100 }, "events": {} });
    let body = json!({ "preset": "public_chat", "power_level_content_override": levels(100) });
    let room_id = alice.create_room(body).await;
    bob.join(&room_id).await.ok();
    let event_type = "m.room.power_levels";
    bob.set_state(&room_id, event_type, "", levels(40))
        .await
        .ok();
    let now = alice.state(&room_id, event_type, "").await.ok();
    assert_eq!(now["users_default"], 40);
}

#[tokio::test]
async fn alternative_aliases_must_be_valid_and_deleted_ones_count_no_more() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice
        .create_room(json!({ "room_alias_name": "here" }))
        .await;
    let here = format!("#here:{}", app.server_name());
    let set = async |content: Value| {
        let event_type = "m.room.canonical_alias";
        alice.set_state(&room_id, event_type, "", content).await
    };
    set(json!({ "alias": here, "alt_aliases": [here] }))
        .await
        .ok();
    let invalid = set(json!({ "alias": here, "alt_aliases": ["%here:x"] })).await;
    assert_eq!(invalid.refused(), (400, "M_INVALID_PARAM"));
    set(json!({})).await.ok();
    let path = format!("/_matrix/client/v3/directory/room/{}", encoded(&here));
    alice.delete(&path).await.ok();
    let deleted = set(json!({ "alias": here })).await;
    assert_eq!(deleted.refused(), (400, "M_BAD_ALIAS"));
}

#[tokio::test]
async fn second_create_event_is_refused() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let stranger = app.user("stranger").await;
    let set = async |user: &TestUser| {
        let answer = user.set_state(&room_id, "m.room.create", "", json!({}));
        answer.await.refused().0
    };
    assert_eq!(set(&alice).await, 400);
    assert_eq!(set(&bob).await, 400);
    assert_eq!(set(&stranger).await, 403);
}

#[tokio::test]
async fn member_changes_name_whoever_is_said_to_vouch() {
    let app = TestApp::start().await;
    let (_, bob, room_id) = app.public_room().await;
    let renamed = json!({
        "membership": "join",
        "displayname": "Robert",
        "join_authorised_via_users_server": "@nobody:elsewhere.example",
    });
    bob.set_state(&room_id, "m.room.member", &bob.user_id, renamed)
        .await
        .ok();
    let member = bob
        .state(&room_id, "m.room.member", &bob.user_id)
        .await
        .ok();
    assert_eq!(member["displayname"], "Robert");
    assert_eq!(member.get("join_authorised_via_users_server"), None);
}
