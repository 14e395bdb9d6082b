//! Room upgrades.

use serde_json::{Value, json};

use crate::app::{Answer, TestApp, TestUser, encoded};

async fn upgrade(user: &TestUser, room_id: &str, body: Value) -> Answer {
    user.room(room_id, "upgrade", body).await
}

async fn upgraded(user: &TestUser, room_id: &str, version: &str) -> String {
    let answer = upgrade(user, room_id, json!({ "new_version": version })).await;
    answer.ok()["replacement_room"].as_str().unwrap().to_owned()
}

async fn content(user: &TestUser, room_id: &str, event_type: &str) -> Value {
    user.state(room_id, event_type, "").await.ok()
}

/// Settings that a replacement takes over.
fn settings() -> [(&'static str, Value); 7] {
    let rules = json!({ "join_rule": "restricted", "allow": [
        { "type": "m.room_membership", "room_id": "!space:example.org" },
    ] });
    [
        ("m.room.name", json!({ "name": "Council" })),
        ("m.room.topic", json!({ "topic": "Votes" })),
        (
            "m.room.history_visibility",
            json!({ "history_visibility": "joined" }),
        ),
        (
            "m.room.guest_access",
            json!({ "guest_access": "forbidden" }),
        ),
        (
            "m.room.encryption",
            json!({ "algorithm": "m.megolm.v1.aes-sha2" }),
        ),
        (
            "m.room.server_acl",
            json!({ "allow": ["*"], "deny": ["evil.example"] }),
        ),
        ("m.room.join_rules", rules),
    ]
}

#[tokio::test]
async fn replacement_has_the_settings_of_the_room_and_both_point_to_each_other() {
    let app = TestApp::start().await;
    let (alice, bob, old) = app.public_room().await;
    let mallory = app.user("mallory").await;
    let settings = settings();
    for (event_type, wanted) in &settings {
        let set = alice.set_state(&old, event_type, "", wanted.clone());
        set.await.ok();
    }
    let other = alice.set_state(&old, "org.example.state", "", json!({ "a": 1 }));
    other.await.ok();
    let ban = json!({ "user_id": mallory.user_id, "reason": "spam" });
    alice.room(&old, "ban", ban).await.ok();

    let new = upgraded(&alice, &old, "11").await;
    for (event_type, wanted) in &settings {
        assert_eq!(content(&alice, &new, event_type).await, *wanted);
    }
    let create = content(&alice, &new, "m.room.create").await;
    assert_eq!(create["room_version"], "11");
    assert_eq!(create["predecessor"]["room_id"], old);
    assert!(create["predecessor"]["event_id"].is_string());
    let tombstone = content(&alice, &old, "m.room.tombstone").await;
    assert_eq!(tombstone["replacement_room"], new);
    let banned = alice.state(&new, "m.room.member", &mallory.user_id).await;
    assert_eq!(
        banned.ok(),
        json!({ "membership": "ban", "reason": "spam" })
    );
    // What others may have set for themselves stays behind, and so do members.
    let other = alice.state(&new, "org.example.state", "").await;
    assert_eq!(other.refused(), (404, "M_NOT_FOUND"));
    let member = alice.state(&new, "m.room.member", &bob.user_id).await;
    assert_eq!(member.refused(), (404, "M_NOT_FOUND"));

    // In the old room only those with power go on.
    let levels = content(&alice, &old, "m.room.power_levels").await;
    assert_eq!(
        (&levels["events_default"], &levels["invite"]),
        (&json!(50), &json!(50))
    );
    let path = format!(
        "/_matrix/client/v3/rooms/{}/send/m.room.message/1",
        encoded(&old)
    );
    let message = bob
        .put(&path, json!({ "msgtype": "m.text", "body": "hello?" }))
        .await;
    assert_eq!(message.refused(), (403, "M_FORBIDDEN"));
    let levels = content(&alice, &new, "m.room.power_levels").await;
    assert_eq!(levels["events_default"], 0);
}

#[tokio::test]
async fn aliases_and_the_place_in_the_directory_move() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let body = json!({ "room_alias_name": "council", "visibility": "public" });
    let old = alice.create_room(body).await;
    let alias = format!("#council:{}", app.server_name());
    let elsewhere = json!({ "alias": alias, "org.example.more": true });
    let set = alice.set_state(&old, "m.room.canonical_alias", "", elsewhere);
    set.await.ok();

    let new = upgraded(&alice, &old, "12").await;
    let path = format!("/_matrix/client/v3/directory/room/{}", encoded(&alias));
    assert_eq!(alice.get(&path).await.ok()["room_id"], new);
    let named = json!({ "alias": alias, "org.example.more": true });
    assert_eq!(content(&alice, &new, "m.room.canonical_alias").await, named);
    let unnamed = json!({ "org.example.more": true });
    assert_eq!(
        content(&alice, &old, "m.room.canonical_alias").await,
        unnamed
    );
    let listed = alice.get("/_matrix/client/v3/publicRooms").await.ok();
    let listed = listed["chunk"].as_array().unwrap();
    let ids: Vec<_> = listed.iter().map(|room| &room["room_id"]).collect();
    assert_eq!(ids, [&json!(new)]);
}

#[tokio::test]
async fn space_keeps_its_type_and_its_rooms() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let body = json!({ "creation_content": { "type": "m.space", "m.federate": false } });
    let old = alice.create_room(body).await;
    let via = json!({ "via": [app.server_name()], "suggested": true });
    for (child, content) in [
        ("!in:example.org", via.clone()),
        ("!out:example.org", json!({})),
    ] {
        let set = alice.set_state(&old, "m.space.child", child, content);
        set.await.ok();
    }
    let new = upgraded(&alice, &old, "12").await;
    let create = content(&alice, &new, "m.room.create").await;
    let kept = (&create["type"], &create["m.federate"]);
    assert_eq!(kept, (&json!("m.space"), &json!(false)));
    let child = alice.state(&new, "m.space.child", "!in:example.org").await;
    assert_eq!(child.ok(), via);
    let gone = alice.state(&new, "m.space.child", "!out:example.org").await;
    assert_eq!(gone.refused(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn creators_of_version_12_are_not_listed_in_the_power_levels() {
    let app = TestApp::start().await;
    let (alice, bob, old) = app.public_room().await;
    let carol = app.user("carol").await;
    let level = |level: i64| {
        json!({ "users": {
        &alice.user_id: 100, &bob.user_id: level, &carol.user_id: 50,
    } })
    };
    let old_v11 = alice.create_room(json!({ "preset": "public_chat", "room_version": "11" }));
    let old_v11 = old_v11.await;
    let set = alice.set_state(&old_v11, "m.room.power_levels", "", level(100));
    set.await.ok();
    let body = json!({ "new_version": "12", "additional_creators": [bob.user_id] });
    let new = upgrade(&alice, &old_v11, body).await.ok();
    let new = new["replacement_room"].as_str().unwrap().to_owned();
    let create = content(&alice, &new, "m.room.create").await;
    assert_eq!(create["additional_creators"], json!([bob.user_id]));
    // The id of the room is the hash of its create event, so neither names the other's event.
    assert_eq!(create["predecessor"], json!({ "room_id": old_v11 }));
    let levels = content(&alice, &new, "m.room.power_levels").await;
    assert_eq!(levels["users"], json!({ &carol.user_id: 50 }));

    // Back to a version in which creators have a level like others.
    let back = upgraded(&alice, &old, "11").await;
    let levels = content(&alice, &back, "m.room.power_levels").await;
    assert_eq!(levels["users"], json!({ &alice.user_id: 150 }));
    let create = content(&alice, &back, "m.room.create").await;
    assert_eq!(create.get("additional_creators"), None);
}

#[tokio::test]
async fn levels_that_are_texts_become_integers_where_the_version_wants_it() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let old = alice.create_room(json!({ "room_version": "9" })).await;
    let levels = json!({ "users": { &alice.user_id: "100" }, "ban": " 60 ", "kick": 40 });
    let set = alice.set_state(&old, "m.room.power_levels", "", levels);
    set.await.ok();
    let new = upgraded(&alice, &old, "10").await;
    let levels = content(&alice, &new, "m.room.power_levels").await;
    let expected = json!({ "users": { &alice.user_id: 100 }, "ban": 60, "kick": 40 });
    assert_eq!(levels, expected);
}

#[tokio::test]
async fn only_those_with_power_upgrade_to_known_versions() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let carol = app.user("carol").await;
    let known = json!({ "new_version": "12" });
    for user in [&bob, &carol] {
        let refused = upgrade(user, &room_id, known.clone()).await;
        assert_eq!(refused.refused(), (403, "M_FORBIDDEN"));
    }
    let unknown = upgrade(&alice, &room_id, json!({ "new_version": "99" })).await;
    assert_eq!(unknown.refused(), (400, "M_UNSUPPORTED_ROOM_VERSION"));
    let missing = upgrade(&alice, &room_id, json!({})).await;
    assert_eq!(missing.refused(), (400, "M_BAD_JSON"));
    let room = alice.state(&room_id, "m.room.tombstone", "").await;
    assert_eq!(room.refused(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn tags_and_direct_chats_follow_to_the_replacement() {
    let app = TestApp::start().await;
    let (alice, bob, old) = app.public_room().await;
    for user in [&alice, &bob] {
        let tags = format!(
            "/_matrix/client/v3/user/{}/rooms/{}/tags",
            user.user_id,
            encoded(&old)
        );
        let favourite = format!("{tags}/m.favourite");
        let favourite = user.put(&favourite, json!({ "order": 0.5 }));
        favourite.await.ok();
        let direct = format!(
            "/_matrix/client/v3/user/{}/account_data/m.direct",
            user.user_id
        );
        let set = user.put(
            &direct,
            json!({ "@friend:example.org": [old], "@x:example.org": [] }),
        );
        set.await.ok();
    }
    let new = upgraded(&alice, &old, "12").await;
    bob.join(&new).await.ok();
    for user in [&alice, &bob] {
        let tags = format!(
            "/_matrix/client/v3/user/{}/rooms/{}/tags",
            user.user_id,
            encoded(&new)
        );
        let tags = user.get(&tags).await.ok();
        assert_eq!(tags["tags"], json!({ "m.favourite": { "order": 0.5 } }));
        let direct = format!(
            "/_matrix/client/v3/user/{}/account_data/m.direct",
            user.user_id
        );
        let direct = user.get(&direct).await.ok();
        assert_eq!(
            direct,
            json!({ "@friend:example.org": [old, new], "@x:example.org": [] })
        );
    }
}
