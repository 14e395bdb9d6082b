//! Aliases and the list of public rooms.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, encoded};

fn path(alias: &str) -> String {
    format!("/_matrix/client/v3/directory/room/{}", encoded(alias))
}

async fn set(user: &TestUser, alias: &str, room_id: &str) -> crate::app::Answer {
    user.put(&path(alias), json!({ "room_id": room_id })).await
}

#[tokio::test]
async fn alias_resolves_for_everybody_also_in_unicode() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    for name in ["plain", "老虎Â£я"] {
        let alias = format!("#{name}:{}", app.server_name());
        set(&alice, &alias, &room_id).await.ok();
        let found = app.unauthenticated().get(&path(&alias)).await.ok();
        assert_eq!(found["room_id"], room_id);
        assert_eq!(found["servers"], json!([app.server_name()]));
    }
}

#[tokio::test]
async fn alias_is_taken_once_and_only_on_this_server() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let other_room_id = alice.create_room(json!({})).await;
    let alias = format!("#taken:{}", app.server_name());
    set(&alice, &alias, &room_id).await.ok();
    let again = set(&alice, &alias, &other_room_id).await;
    assert_eq!(again.status, 409, "{}", again.body);
    let foreign = set(&alice, "#taken:elsewhere.example", &room_id).await;
    assert_eq!(foreign.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn only_members_list_and_set_aliases() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({})).await;
    let list = format!("/_matrix/client/v3/rooms/{room_id}/aliases");
    assert_eq!(alice.get(&list).await.ok(), json!({ "aliases": [] }));
    let alias = format!("#listed:{}", app.server_name());
    assert_eq!(
        set(&bob, &alias, &room_id).await.refused(),
        (403, "M_FORBIDDEN")
    );
    set(&alice, &alias, &room_id).await.ok();
    assert_eq!(alice.get(&list).await.ok(), json!({ "aliases": [alias] }));
    assert_eq!(bob.get(&list).await.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn aliases_are_deleted_by_their_creator_or_a_moderator() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let of_alice = format!("#of-alice:{}", app.server_name());
    let of_bob = format!("#of-bob:{}", app.server_name());
    set(&alice, &of_alice, &room_id).await.ok();
    assert_eq!(
        bob.delete(&path(&of_alice)).await.refused(),
        (403, "M_FORBIDDEN")
    );
    for remover in [&bob, &alice] {
        set(&bob, &of_bob, &room_id).await.ok();
        remover.delete(&path(&of_bob)).await.ok();
        assert_eq!(
            alice.get(&path(&of_bob)).await.refused(),
            (404, "M_NOT_FOUND")
        );
    }
    assert_eq!(
        alice.delete(&path(&of_bob)).await.refused(),
        (404, "M_NOT_FOUND")
    );
}

#[tokio::test]
async fn deleting_the_canonical_alias_takes_it_out_of_the_room() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let alias = format!("#main:{}", app.server_name());
    set(&alice, &alias, &room_id).await.ok();
    let content = json!({ "alias": alias });
    alice
        .set_state(&room_id, "m.room.canonical_alias", "", content)
        .await
        .ok();
    alice.delete(&path(&alias)).await.ok();
    let state = alice
        .state(&room_id, "m.room.canonical_alias", "")
        .await
        .ok();
    assert_eq!(state, json!({}));
}

#[tokio::test]
async fn public_rooms_are_listed_and_searched() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let wombles = json!({ "visibility": "public", "name": "Test", "topic": "About Wombles" });
    let room_id = alice.create_room(wombles).await;
    alice
        .create_room(json!({ "visibility": "public", "name": "Other" }))
        .await;
    alice.create_room(json!({ "name": "Hidden" })).await;
    let all = app
        .unauthenticated()
        .get("/_matrix/client/v3/publicRooms")
        .await
        .ok();
    assert_eq!(all["chunk"].as_array().unwrap().len(), 2);
    let filter = json!({ "filter": { "generic_search_term": "wombles" } });
    let found = alice
        .post("/_matrix/client/v3/publicRooms", filter)
        .await
        .ok();
    let chunk = found["chunk"].as_array().unwrap();
    assert_eq!(chunk.len(), 1);
    assert_eq!(chunk[0]["room_id"], room_id);
    assert_eq!(chunk[0]["name"], "Test");
    assert_eq!(chunk[0]["topic"], "About Wombles");
    assert_eq!(chunk[0]["num_joined_members"], 1);
    assert_eq!(chunk[0]["join_rule"], "public");
    assert_eq!(chunk[0]["world_readable"], false);
}

#[tokio::test]
async fn public_rooms_are_paginated() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let mut created = Vec::new();
    for _ in 0..5 {
        created.push(alice.create_room(json!({ "visibility": "public" })).await);
    }
    let mut listed: Vec<String> = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = alice
            .get(&format!("/_matrix/client/v3/publicRooms{query}"))
            .await
            .ok();
        listed.extend(page["chunk"].as_array().unwrap().iter().map(room_id));
        let Some(next) = page["next_batch"].as_str() else {
            break;
        };
        query = format!("?limit=2&since={next}");
    }
    created.sort();
    listed.sort();
    assert_eq!(listed, created);
}

fn room_id(entry: &Value) -> String {
    entry["room_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn visibility_in_the_directory_is_changed_by_those_with_power() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let path = format!("/_matrix/client/v3/directory/list/room/{room_id}");
    assert_eq!(
        alice.get(&path).await.ok(),
        json!({ "visibility": "private" })
    );
    let public = json!({ "visibility": "public" });
    assert_eq!(
        bob.put(&path, public.clone()).await.refused(),
        (403, "M_FORBIDDEN")
    );
    alice.put(&path, public.clone()).await.ok();
    assert_eq!(app.unauthenticated().get(&path).await.ok(), public);
}

#[tokio::test]
async fn alias_is_deleted_by_its_creator_or_by_power_level() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let of_bob = format!("#of-bob:{}", app.server_name());
    let of_alice = format!("#of-alice:{}", app.server_name());
    let state = async |event_type: &str, content: Value| {
        let set = alice.set_state(&room_id, event_type, "", content).await;
        set.ok();
    };
    let levels = json!({ "events": { "m.room.aliases": 50 } });
    state("m.room.power_levels", levels).await;
    set(&bob, &of_bob, &room_id).await.ok();
    state("m.room.canonical_alias", json!({ "alias": of_bob })).await;
    bob.delete(&path(&of_bob)).await.ok();
    assert_eq!(alice.get(&path(&of_bob)).await.status, 404);

    set(&alice, &of_alice, &room_id).await.ok();
    assert_eq!(bob.delete(&path(&of_alice)).await.status, 403);
    let levels = json!({ "users": { &bob.user_id: 100 } });
    state("m.room.power_levels", levels).await;
    bob.delete(&path(&of_alice)).await.ok();
    assert_eq!(alice.get(&path(&of_alice)).await.status, 404);
}

#[tokio::test]
async fn directory_entries_have_names() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let rooms = [
        ("bare", None, None),
        ("named", Some("un nom français"), None),
        ("about", None, Some("à propos de tout")),
        ("both", Some("name"), Some("topic")),
    ];
    for (alias, name, topic) in rooms {
        let mut body = json!({ "visibility": "public", "room_alias_name": alias });
        for (field, value) in [("name", name), ("topic", topic)] {
            if let Some(value) = value {
                body[field] = json!(value);
            }
        }
        alice.create_room(body).await;
    }
    let listed = alice.get("/_matrix/client/v3/publicRooms").await.ok();
    let chunk = listed["chunk"].as_array().unwrap();
    assert_eq!(chunk.len(), rooms.len());
    for (alias, name, topic) in rooms {
        let alias = format!("#{alias}:{}", app.server_name());
        let mut entries = chunk.iter();
        let room = entries.find(|room| room["canonical_alias"] == alias);
        let room = room.unwrap();
        assert_eq!(room["name"].as_str(), name, "{room}");
        assert_eq!(room["topic"].as_str(), topic, "{room}");
        assert_eq!(room["num_joined_members"], 1);
        assert_eq!(room["guest_can_join"], false);
        assert_eq!(room["world_readable"], false);
    }
}
