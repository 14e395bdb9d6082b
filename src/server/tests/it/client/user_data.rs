//! `/profile`, `/account_data`, `/tags`, `/filter` and `/pushrules`.

use http::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, encoded};

fn of(user: &TestUser, rest: &str) -> String {
    format!("/_matrix/client/v3/user/{}/{rest}", encoded(&user.user_id))
}

fn profile(user: &TestUser, field: &str) -> String {
    format!(
        "/_matrix/client/v3/profile/{}/{field}",
        encoded(&user.user_id)
    )
}

#[tokio::test]
async fn profile_is_public_and_shown_in_rooms() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let name = profile(&alice, "displayname");
    alice
        .put(&name, json!({ "displayname": "Alice A." }))
        .await
        .ok();
    let avatar = json!({ "avatar_url": "mxc://a.org/x" });
    alice.put(&profile(&alice, "avatar_url"), avatar).await.ok();
    alice
        .put(&profile(&alice, "m.tz"), json!({ "m.tz": "Europe/Berlin" }))
        .await
        .ok();
    assert_eq!(
        app.unauthenticated().get(&name).await.ok(),
        json!({ "displayname": "Alice A." })
    );
    let whole = json!({ "displayname": "Alice A.", "avatar_url": "mxc://a.org/x", "m.tz": "Europe/Berlin" });
    let path = format!("/_matrix/client/v3/profile/{}", encoded(&alice.user_id));
    assert_eq!(app.unauthenticated().get(&path).await.ok(), whole);
    let member = alice
        .state(&room_id, "m.room.member", &alice.user_id)
        .await
        .ok();
    assert_eq!(member["displayname"], "Alice A.");
    assert_eq!(member["avatar_url"], "mxc://a.org/x");

    let foreign = bob.put(&name, json!({ "displayname": "Mallory" })).await;
    assert_eq!(foreign.refused(), (403, "M_FORBIDDEN"));
    alice.delete(&name).await.ok();
    assert_eq!(alice.get(&name).await.refused(), (404, "M_NOT_FOUND"));
    let member = alice
        .state(&room_id, "m.room.member", &alice.user_id)
        .await
        .ok();
    assert!(member.get("displayname").is_none());
}

#[tokio::test]
async fn name_and_avatar_are_removed_by_a_body_without_them() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let member = async || {
        let member = alice.state(&room_id, "m.room.member", &alice.user_id);
        member.await.ok()
    };
    let avatar = profile(&alice, "avatar_url");
    alice
        .put(&avatar, json!({ "avatar_url": "mxc://a.org/x" }))
        .await
        .ok();
    assert_eq!(member().await["displayname"], "alice");
    for field in ["displayname", "avatar_url"] {
        let path = profile(&alice, field);
        alice.put(&path, json!({})).await.ok();
        assert_eq!(alice.get(&path).await.refused(), (404, "M_NOT_FOUND"));
    }
    assert_eq!(member().await, json!({ "membership": "join" }));
    let other = alice.put(&profile(&alice, "m.tz"), json!({})).await;
    assert_eq!(other.refused(), (400, "M_BAD_JSON"));
    for body in ["", "[]", "{"] {
        let refused = alice.call(Method::PUT, &avatar, body).await;
        assert_eq!(refused.refused().0, 400, "{body}");
    }
    let refused = alice.put(&avatar, json!({ "avatar_url": "https://a.org/x" }));
    assert_eq!(refused.await.refused(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn bad_profiles_are_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    for (field, body, errcode) in [
        ("displayname", json!({ "displayname": 7 }), "M_BAD_JSON"),
        (
            "displayname",
            json!({ "displayname": "x".repeat(300) }),
            "M_INVALID_PARAM",
        ),
        ("Bad.Key", json!({ "Bad.Key": 7 }), "M_INVALID_PARAM"),
        (
            "org.example.x",
            json!({ "org.example.x": "x".repeat(65_536) }),
            "M_PROFILE_TOO_LARGE",
        ),
    ] {
        let answer = alice.put(&profile(&alice, field), body).await;
        assert_eq!(answer.refused(), (400, errcode), "{field}");
    }
    let key = "a".repeat(256);
    let answer = alice
        .put(&profile(&alice, &key), json!({ key.clone(): 7 }))
        .await;
    assert_eq!(answer.refused(), (400, "M_KEY_TOO_LARGE"));
    let nobody = format!(
        "/_matrix/client/v3/profile/%40nobody%3A{}",
        app.server_name()
    );
    assert_eq!(alice.get(&nobody).await.refused(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn account_data_belongs_to_its_user() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({})).await;
    for path in [
        of(&alice, "account_data/test.key"),
        of(&alice, &format!("rooms/{room_id}/account_data/test.key")),
    ] {
        assert_eq!(alice.get(&path).await.refused(), (404, "M_NOT_FOUND"));
        for value in ["first", "second"] {
            alice.put(&path, json!({ "value": value })).await.ok();
            assert_eq!(alice.get(&path).await.ok(), json!({ "value": value }));
        }
        assert_eq!(bob.get(&path).await.refused(), (403, "M_FORBIDDEN"));
        assert_eq!(
            bob.put(&path, json!({})).await.refused(),
            (403, "M_FORBIDDEN")
        );
        assert_eq!(
            alice.put(&path, json!([])).await.refused(),
            (400, "M_BAD_JSON")
        );
    }
}

#[tokio::test]
async fn deleted_account_data_is_gone_and_told_to_clients_that_know_it() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({})).await;
    let unstable = |rest: &str| of(&alice, rest).replace("v3", "unstable/org.matrix.msc3391");
    let in_room = format!("rooms/{room_id}/account_data/test.key");
    for rest in ["account_data/test.key", &in_room] {
        let data = |answer: &Value| {
            let section = match rest {
                "account_data/test.key" => &answer["account_data"]["events"],
                _ => &answer["rooms"]["join"][&room_id]["account_data"]["events"],
            };
            let events = section.as_array().into_iter().flatten();
            let mut events = events.filter(|event| event["type"] == "test.key");
            events.next().map(|event| event["content"].clone())
        };
        let (path, deletion) = (of(&alice, rest), unstable(rest));
        // Nothing to delete: nothing is told.
        let since = alice.since().await;
        alice.delete(&deletion).await.ok();
        assert_eq!(data(&alice.sync(&since).await), None);
        for by_delete in [true, false] {
            alice.put(&path, json!({ "a": 1 })).await.ok();
            let since = alice.since().await;
            assert_eq!(data(&alice.sync("").await), Some(json!({ "a": 1 })));
            if by_delete {
                assert_eq!(bob.delete(&deletion).await.refused(), (403, "M_FORBIDDEN"));
                alice.delete(&deletion).await.ok();
            } else {
                alice.call(Method::PUT, &path, "{ }").await.ok();
            }
            assert_eq!(data(&alice.sync(&since).await), Some(json!({})), "{rest}");
            assert_eq!(data(&alice.sync("").await), None, "{rest}");
            assert_eq!(alice.get(&path).await.refused(), (404, "M_NOT_FOUND"));
        }
    }
    let managed = alice.delete(&unstable("account_data/m.push_rules")).await;
    assert_eq!(managed.refused(), (405, "M_BAD_JSON"));
    let unknown = unstable("rooms/!nowhere:example.org/account_data/test.key");
    assert_eq!(alice.delete(&unknown).await.refused().0, 404);
}

#[tokio::test]
async fn account_data_of_the_server_is_read_only() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    for event_type in ["m.push_rules", "m.fully_read"] {
        let global = alice
            .put(
                &of(&alice, &format!("account_data/{event_type}")),
                json!({}),
            )
            .await;
        assert_eq!(global.refused(), (405, "M_BAD_JSON"), "{event_type}");
        let path = of(
            &alice,
            &format!("rooms/{room_id}/account_data/{event_type}"),
        );
        assert_eq!(
            alice.put(&path, json!({})).await.refused(),
            (405, "M_BAD_JSON"),
            "{event_type}"
        );
    }
    let rules = alice
        .get(&of(&alice, "account_data/m.push_rules"))
        .await
        .ok();
    assert!(rules["global"]["override"].is_array());
}

#[tokio::test]
async fn rooms_are_tagged() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({})).await;
    let tags = of(&alice, &format!("rooms/{room_id}/tags"));
    assert_eq!(alice.get(&tags).await.ok(), json!({ "tags": {} }));
    let work = format!("{tags}/u.work");
    alice
        .put(&work, json!({ "order": 0.25, "org.example.colour": "red" }))
        .await
        .ok();
    alice
        .put(&format!("{tags}/m.favourite"), json!({}))
        .await
        .ok();
    let both =
        json!({ "m.favourite": {}, "u.work": { "order": 0.25, "org.example.colour": "red" } });
    assert_eq!(alice.get(&tags).await.ok()["tags"], both);
    alice.delete(&work).await.ok();
    assert_eq!(
        alice.get(&tags).await.ok(),
        json!({ "tags": { "m.favourite": {} } })
    );
    let data = alice
        .get(&of(&alice, &format!("rooms/{room_id}/account_data/m.tag")))
        .await
        .ok();
    assert_eq!(data, json!({ "tags": { "m.favourite": {} } }));
    assert_eq!(bob.get(&tags).await.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn filters_are_stored() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let filter = json!({ "room": { "timeline": { "limit": 10 } }, "org.example.more": 1 });
    let created = alice.post(&of(&alice, "filter"), filter.clone()).await.ok();
    let path = of(
        &alice,
        &format!("filter/{}", created["filter_id"].as_str().unwrap()),
    );
    assert_eq!(alice.get(&path).await.ok(), filter);
    assert_eq!(bob.get(&path).await.refused(), (403, "M_FORBIDDEN"));
    assert_eq!(
        alice.get(&of(&alice, "filter/999999")).await.refused(),
        (404, "M_NOT_FOUND")
    );
    for bad in [
        json!({ "presence": "x" }),
        json!({ "room": { "timeline": { "types": [1] } } }),
        json!({ "room": { "timeline": { "rooms": ["not_a_room_id"] } } }),
        json!({ "room": { "timeline": { "senders": ["not_a_sender_id"] } } }),
        json!([]),
    ] {
        let answer = alice.post(&of(&alice, "filter"), bad.clone()).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{bad}");
    }
}

const RULES: &str = "/_matrix/client/v3/pushrules/";

#[tokio::test]
async fn push_rules_are_read_and_changed() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let all = alice.get(RULES).await.ok();
    assert_eq!(
        all["global"],
        alice.get(&format!("{RULES}global/")).await.ok()
    );
    let master = format!("{RULES}global/override/.m.rule.master");
    assert_eq!(alice.get(&master).await.ok()["rule_id"], ".m.rule.master");
    assert_eq!(
        alice.get(&format!("{master}/enabled")).await.ok(),
        json!({ "enabled": false })
    );
    assert_eq!(
        alice.get(&format!("{master}/actions")).await.ok(),
        json!({ "actions": [] })
    );

    let sender = format!("{RULES}global/sender/{}", encoded(&alice.user_id));
    alice
        .put(&sender, json!({ "actions": ["dont_notify"] }))
        .await
        .ok();
    assert_eq!(
        alice.get(RULES).await.ok()["global"]["sender"][0]["actions"],
        json!(["dont_notify"])
    );
    alice
        .put(&format!("{sender}/enabled"), json!({ "enabled": false }))
        .await
        .ok();
    alice
        .put(
            &format!("{sender}/actions"),
            json!({ "actions": ["notify"] }),
        )
        .await
        .ok();
    let rule = alice.get(&sender).await.ok();
    assert_eq!(
        (&rule["enabled"], &rule["actions"]),
        (&json!(false), &json!(["notify"]))
    );
    alice.delete(&sender).await.ok();
    assert_eq!(alice.get(&sender).await.refused(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn bad_push_rules_are_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let content = |id: &str| format!("{RULES}global/content/{id}");
    let cake = json!({ "pattern": "cake", "actions": ["notify"] });
    let default = alice.put(&content(".m.rule.mine"), cake.clone()).await;
    assert_eq!(default.status, 400);
    for position in ["?after=nothing", "?before=nothing"] {
        let answer = alice
            .put(&content(&format!("cake{position}")), cake.clone())
            .await;
        assert_eq!(answer.refused(), (404, "M_NOT_FOUND"));
    }
    alice.put(&content("cake"), cake.clone()).await.ok();
    assert_eq!(
        alice
            .put(&content("cake?after=cake"), cake.clone())
            .await
            .status,
        400
    );
    assert_eq!(
        alice
            .put(&content("pie"), json!({ "actions": [] }))
            .await
            .refused(),
        (400, "M_BAD_JSON")
    );
    assert_eq!(
        alice
            .put(&format!("{RULES}global/magic/x"), cake)
            .await
            .status,
        400
    );
    let master = alice
        .delete(&format!("{RULES}global/override/.m.rule.master"))
        .await;
    assert_eq!(master.status, 400);
    let unknown = alice
        .put(&content("nothing/enabled"), json!({ "enabled": true }))
        .await;
    assert_eq!(unknown.refused(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn filters_of_the_wrong_shape_are_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let parts = ["timeline", "state", "ephemeral", "account_data"];
    let parts = parts.map(|part| json!({ part: "x" }));
    let lists = [
        "rooms",
        "not_rooms",
        "senders",
        "not_senders",
        "types",
        "not_types",
    ];
    let lists = lists.map(|list| json!({ "timeline": { list: "x" } }));
    for room in parts.into_iter().chain(lists) {
        let filter = json!({ "room": room });
        let answer = alice.post(&of(&alice, "filter"), filter.clone()).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{filter}");
    }
}
