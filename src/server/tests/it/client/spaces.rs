//! Spaces, and rooms shown before they are joined.

use serde_json::{Value, json};

use crate::app::{Answer, Client, TestApp, TestUser, encoded};

async fn space(user: &TestUser, name: &str) -> String {
    let body = json!({
        "preset": "public_chat", "name": name, "creation_content": { "type": "m.space" },
    });
    user.create_room(body).await
}

async fn room(user: &TestUser, preset: &str) -> String {
    user.create_room(json!({ "preset": preset })).await
}

/// Puts a room into a space; `content` is merged into that of the event.
async fn put(app: &TestApp, user: &TestUser, (space, child): (&str, &str), content: Value) {
    let mut content = content;
    content["via"] = json!([app.server_name()]);
    let set = user.set_state(space, "m.space.child", child, content);
    set.await.ok();
}

async fn hierarchy(user: &TestUser, room_id: &str, query: &str) -> Answer {
    let room_id = encoded(room_id);
    let path = format!("/_matrix/client/v1/rooms/{room_id}/hierarchy?{query}");
    user.get(&path).await
}

async fn summary(client: &Client, room: &str) -> Answer {
    let path = format!("/_matrix/client/v1/room_summary/{}", encoded(room));
    client.get(&path).await
}

fn ids(answer: &Value) -> Vec<&str> {
    let rooms = answer["rooms"].as_array().unwrap().iter();
    rooms
        .map(|room| room["room_id"].as_str().unwrap())
        .collect()
}

/// A space with a room and another space, in which there is a room, too; in the order of a walk.
async fn tree(app: &TestApp, user: &TestUser) -> [String; 4] {
    let (root, first) = (space(user, "Root").await, room(user, "public_chat").await);
    let (inner, second) = (space(user, "Inner").await, room(user, "public_chat").await);
    let suggested = json!({ "order": "b", "suggested": true });
    put(app, user, (&root, &first), suggested).await;
    put(app, user, (&root, &inner), json!({ "order": "a" })).await;
    put(app, user, (&inner, &second), json!({})).await;
    [root, inner, second, first]
}

#[tokio::test]
async fn rooms_of_a_space_come_in_order_and_those_of_inner_spaces_first() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let [root, inner, second, first] = tree(&app, &alice).await;
    let answer = hierarchy(&alice, &root, "").await.ok();
    assert_eq!(ids(&answer), [&root, &inner, &second, &first]);
    assert_eq!(answer.get("next_batch"), None);
    let shown = &answer["rooms"][0];
    assert_eq!(
        (&shown["name"], &shown["room_type"]),
        (&json!("Root"), &json!("m.space"))
    );
    let children = shown["children_state"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    assert_eq!(children[0]["state_key"], inner);
    assert_eq!(children[1]["content"]["suggested"], true);
    assert!(children[0]["origin_server_ts"].is_u64());
    assert_eq!(answer["rooms"][3]["children_state"], json!([]));

    let answer = hierarchy(&alice, &root, "suggested_only=true").await.ok();
    assert_eq!(ids(&answer), [&root, &first]);
    assert_eq!(
        answer["rooms"][0]["children_state"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let answer = hierarchy(&alice, &root, "max_depth=1").await.ok();
    assert_eq!(ids(&answer), [&root, &inner, &first]);
    assert_eq!(answer["rooms"][1]["children_state"][0]["state_key"], second);

    // Taken out of the space again.
    let gone = alice.set_state(&root, "m.space.child", &inner, json!({}));
    gone.await.ok();
    let answer = hierarchy(&alice, &root, "").await.ok();
    assert_eq!(ids(&answer), [&root, &first]);
}

#[tokio::test]
async fn pages_of_a_space_hold_each_room_once() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let [root, inner, second, first] = tree(&app, &alice).await;
    let one = hierarchy(&alice, &root, "limit=2&max_depth=5").await.ok();
    assert_eq!(ids(&one), [&root, &inner]);
    let from = encoded(one["next_batch"].as_str().unwrap());
    // A room that comes before the page does not shift it.
    let new = room(&alice, "public_chat").await;
    put(&app, &alice, (&root, &new), json!({ "order": " " })).await;
    let two = hierarchy(&alice, &root, &format!("limit=1&from={from}"))
        .await
        .ok();
    assert_eq!(ids(&two), [&second]);
    let last = encoded(two["next_batch"].as_str().unwrap());
    let three = hierarchy(&alice, &root, &format!("limit=1&from={last}"))
        .await
        .ok();
    assert_eq!(ids(&three), [&first]);
    assert_eq!(three.get("next_batch"), None);

    for query in [
        format!("from={from}&max_depth=4"),
        format!("from={from}&suggested_only=true"),
        "from=nonsense".to_owned(),
        "limit=0".to_owned(),
    ] {
        let refused = hierarchy(&alice, &root, &query).await;
        assert_eq!(refused.refused(), (400, "M_INVALID_PARAM"), "{query}");
    }
}

#[tokio::test]
async fn spaces_in_a_circle_come_once() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let (one, two) = (space(&alice, "One").await, space(&alice, "Two").await);
    for (space, child) in [(&one, &two), (&two, &one), (&two, &two)] {
        put(&app, &alice, (space, child), json!({})).await;
    }
    let answer = hierarchy(&alice, &one, "").await.ok();
    assert_eq!(ids(&answer), [&one, &two]);
}

#[tokio::test]
async fn rooms_are_shown_to_those_who_may_join_or_read_them() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let root = space(&alice, "Root").await;
    let private = room(&alice, "private_chat").await;
    let restricted = room(&alice, "private_chat").await;
    let knockable = room(&alice, "private_chat").await;
    for child in [&private, &restricted, &knockable] {
        put(&app, &alice, (&root, child), json!({})).await;
    }
    let allow = json!([{ "type": "m.room_membership", "room_id": root }]);
    let rules = json!({ "join_rule": "restricted", "allow": allow });
    let set = alice.set_state(&restricted, "m.room.join_rules", "", rules);
    set.await.ok();
    let rules = json!({ "join_rule": "knock" });
    let set = alice.set_state(&knockable, "m.room.join_rules", "", rules);
    set.await.ok();

    let answer = hierarchy(&bob, &root, "").await.ok();
    assert_eq!(ids(&answer), [&root, &knockable]);
    bob.join(&root).await.ok();
    let answer = hierarchy(&bob, &root, "").await.ok();
    assert_eq!(ids(&answer), [&root, &restricted, &knockable]);
    assert_eq!(answer["rooms"][1]["allowed_room_ids"], json!([root]));
    alice.invite(&private, &bob).await.ok();
    let answer = hierarchy(&bob, &root, "").await.ok();
    assert_eq!(ids(&answer), [&root, &private, &restricted, &knockable]);

    let ban = json!({ "user_id": bob.user_id });
    alice.room(&knockable, "ban", ban).await.ok();
    let answer = hierarchy(&bob, &root, "").await.ok();
    assert_eq!(ids(&answer), [&root, &private, &restricted]);
}

#[tokio::test]
async fn hierarchy_of_a_hidden_or_unknown_room_is_forbidden() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let private = room(&alice, "private_chat").await;
    let unknown = format!("!unknown:{}", app.server_name());
    for room_id in [&private, &unknown] {
        let refused = hierarchy(&bob, room_id, "").await;
        assert_eq!(refused.refused(), (403, "M_FORBIDDEN"));
    }
}

#[tokio::test]
async fn summary_shows_a_room_by_id_or_alias_with_the_membership() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let body = json!({
        "preset": "public_chat", "name": "Council", "room_alias_name": "council",
        "room_version": "11",
        "initial_state": [{
            "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" },
        }],
    });
    let room_id = alice.create_room(body).await;
    let alias = format!("#council:{}", app.server_name());
    let mut expected = json!({
        "room_id": room_id, "canonical_alias": alias, "name": "Council",
        "num_joined_members": 1, "join_rule": "public", "world_readable": false,
        "guest_can_join": false, "encryption": "m.megolm.v1.aes-sha2", "room_version": "11",
        "membership": "leave",
    });
    assert_eq!(summary(&bob, &room_id).await.ok(), expected);
    assert_eq!(summary(&bob, &alias).await.ok(), expected);
    expected["membership"] = json!("join");
    assert_eq!(summary(&alice, &room_id).await.ok(), expected);
    // Without a user there is no membership.
    expected.as_object_mut().unwrap().remove("membership");
    let anybody = app.unauthenticated();
    assert_eq!(summary(&anybody, &room_id).await.ok(), expected);
    let old = format!(
        "/_matrix/client/unstable/im.nheko.summary/rooms/{}/summary",
        encoded(&room_id)
    );
    assert_eq!(anybody.get(&old).await.ok(), expected);
}

#[tokio::test]
async fn summary_of_a_room_that_the_user_may_not_join_is_not_found() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let private = room(&alice, "private_chat").await;
    let elsewhere = "#council:elsewhere.example".to_owned();
    let anybody = app.unauthenticated();
    for (client, room) in [
        (&*bob, &private),
        (&anybody, &private),
        (&anybody, &elsewhere),
    ] {
        let refused = summary(client, room).await;
        assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    }
    alice.invite(&private, &bob).await.ok();
    let invited = summary(&bob, &private).await.ok();
    assert_eq!(invited["membership"], "invite");
}
