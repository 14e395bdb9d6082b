//! `/pushers` and `/notifications`.

use serde_json::{Value, json};

use crate::app::{PASSWORD, TestApp, TestUser, encoded};

const SET: &str = "/_matrix/client/v3/pushers/set";

fn pusher(push_key: &str) -> Value {
    json!({
        "kind": "http",
        "app_id": "org.example.app",
        "pushkey": push_key,
        "app_display_name": "App",
        "device_display_name": "Phone",
        "profile_tag": "tag",
        "lang": "en",
        "data": {
            "url": "https://push.example.org/_matrix/push/v1/notify",
            "format": "event_id_only",
            "default_payload": { "aps": {} },
        },
    })
}

async fn pushers(user: &TestUser) -> Vec<Value> {
    let answer = user.get("/_matrix/client/v3/pushers").await.ok();
    answer["pushers"].as_array().unwrap().clone()
}

#[tokio::test]
async fn pushers_are_set_listed_and_deleted() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    assert!(pushers(&alice).await.is_empty());
    alice.post(SET, pusher("one")).await.ok();
    alice.post(SET, pusher("two")).await.ok();
    assert_eq!(pushers(&alice).await, [pusher("one"), pusher("two")]);
    assert!(pushers(&bob).await.is_empty());
    let delete = json!({ "kind": null, "app_id": "org.example.app", "pushkey": "one" });
    bob.post(SET, delete.clone()).await.ok();
    assert_eq!(pushers(&alice).await.len(), 2);
    alice.post(SET, delete.clone()).await.ok();
    alice.post(SET, delete).await.ok();
    assert_eq!(pushers(&alice).await, [pusher("two")]);
    // The same app on another account of the same phone.
    bob.post(SET, pusher("two")).await.ok();
    assert!(pushers(&alice).await.is_empty());
}

#[tokio::test]
async fn pushers_that_cannot_be_are_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let with = |field: &str, value: Value| {
        let mut body = pusher("key");
        body[field] = value;
        body
    };
    let url = |url: &str| with("data", json!({ "url": url }));
    let cases = [
        (with("kind", json!("email")), "e-mail"),
        (with("kind", json!("sms")), "http"),
        (with("app_id", json!("a".repeat(65))), "app_id"),
        (with("pushkey", json!("k".repeat(513))), "pushkey"),
        (with("pushkey", json!("")), "pushkey"),
        (with("lang", json!("e\0n")), "null"),
        (with("device_display_name", json!("x".repeat(513))), "512"),
        (with("data", json!({ "url": 1 })), "url"),
        (url("ftp://a.org/_matrix/push/v1/notify"), "url"),
        (url("https://a.org/notify"), "path"),
        (url("https://a.org/_matrix/push/v1/notify/"), "path"),
        (url("https://me:pw@a.org/_matrix/push/v1/notify"), "url"),
        (url("http://10.0.0.1/_matrix/push/v1/notify"), "address"),
        (url("http://2130706433/_matrix/push/v1/notify"), "address"),
    ];
    for (body, named) in cases {
        let answer = alice.post(SET, body.clone()).await;
        assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{body}");
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(named), "{error}");
    }
    let missing = json!({ "kind": "http", "app_id": "a", "pushkey": "k",
        "app_display_name": "", "device_display_name": "" });
    let answer = alice.post(SET, missing).await;
    assert_eq!(answer.refused(), (400, "M_MISSING_PARAM"));
    assert_eq!(answer.body["error"], "Missing parameters: lang, data");
    let answer = alice
        .post(SET, json!({ "app_id": "a", "pushkey": "k" }))
        .await;
    assert_eq!(answer.refused(), (400, "M_MISSING_PARAM"));
    let answer = alice.post(SET, with("lang", json!(1))).await;
    assert_eq!(answer.refused(), (400, "M_BAD_JSON"));
    let large = json!({ "url": "https://a.org/_matrix/push/v1/notify", "x": "x".repeat(9_000) });
    let answer = alice.post(SET, with("data", large)).await;
    assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"));
    assert!(pushers(&alice).await.is_empty());
}

#[tokio::test]
async fn more_pushers_than_the_limit_are_refused() {
    let app = TestApp::start_with(|config| config.limits.pushers_per_user = 1).await;
    let alice = app.user("alice").await;
    alice.post(SET, pusher("one")).await.ok();
    let answer = alice.post(SET, pusher("two")).await;
    assert_eq!(answer.refused(), (403, "M_USER_LIMIT_EXCEEDED"));
    assert_eq!(pushers(&alice).await.len(), 1);
}

#[tokio::test]
async fn pushers_of_other_sessions_end_with_the_password() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let other = app.login(&alice, "OTHER").await;
    alice.post(SET, pusher("own")).await.ok();
    other.post(SET, pusher("other")).await.ok();
    let body = json!({
        "new_password": "another password",
        "logout_devices": false,
        "auth": {
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": alice.user_id },
            "password": PASSWORD,
        },
    });
    alice
        .post("/_matrix/client/v3/account/password", body)
        .await
        .ok();
    assert_eq!(pushers(&other).await, [pusher("own")]);
    // The session itself goes on, and may set it again.
    other.post(SET, pusher("other")).await.ok();
    assert_eq!(pushers(&alice).await.len(), 2);
    other
        .post("/_matrix/client/v3/logout", json!({}))
        .await
        .ok();
    assert_eq!(pushers(&alice).await, [pusher("own")]);
}

/// The bodies of the messages on a page of notifications, each with whether it was read.
fn bodies(page: &Value) -> Vec<(&str, bool)> {
    let notifications = page["notifications"].as_array().unwrap();
    let entries = notifications.iter().map(|notification| {
        let body = notification["event"]["content"]["body"].as_str();
        (body.unwrap(), notification["read"].as_bool().unwrap())
    });
    entries.collect()
}

#[tokio::test]
async fn notifications_are_listed_newest_first_in_pages() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let other = alice.create_room(json!({ "preset": "public_chat" })).await;
    alice.send_text(&other, "before the join").await;
    bob.join(&other).await.ok();
    let first = alice.send_text(&room_id, "one").await;
    alice.send_text(&other, "two").await;
    let mention = json!({ "msgtype": "m.text", "body": "three",
        "m.mentions": { "user_ids": [bob.user_id] } });
    alice.send(&room_id, "mention", mention).await;
    alice
        .send(
            &room_id,
            "notice",
            json!({ "msgtype": "m.notice", "body": "beep" }),
        )
        .await;
    bob.send_text(&other, "own").await;
    let gone = alice.send_text(&room_id, "redacted").await;
    let path = format!("/_matrix/client/v3/rooms/{room_id}/redact/{gone}/r");
    alice.put(&path, json!({})).await.ok();
    bob.room(
        &room_id,
        &format!("receipt/m.read/{}", encoded(&first)),
        json!({}),
    )
    .await
    .ok();

    let list = "/_matrix/client/v3/notifications";
    let all = bob.get(list).await.ok();
    assert_eq!(
        bodies(&all),
        [("three", false), ("two", false), ("one", true)]
    );
    assert!(all.get("next_token").is_none());
    let newest = &all["notifications"][0];
    assert_eq!(newest["room_id"], room_id.as_str());
    assert!(
        newest["actions"]
            .as_array()
            .unwrap()
            .contains(&json!("notify"))
    );
    assert!(newest["ts"].is_u64() && newest["event"]["event_id"].is_string());

    let page = bob.get(&format!("{list}?limit=2")).await.ok();
    assert_eq!(bodies(&page), [("three", false), ("two", false)]);
    let from = page["next_token"].as_str().unwrap();
    let page = bob.get(&format!("{list}?limit=2&from={from}")).await.ok();
    assert_eq!(bodies(&page), [("one", true)]);

    let highlights = bob.get(&format!("{list}?only=highlight")).await.ok();
    assert_eq!(bodies(&highlights), [("three", false)]);
    assert!(bodies(&alice.get(list).await.ok()) == [("own", false)]);
    for wrong in ["only=quiet", "from=x", "from=nx", "limit=-1"] {
        let answer = bob.get(&format!("{list}?{wrong}")).await;
        assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"), "{wrong}");
    }
}

#[tokio::test]
async fn more_events_than_are_evaluated_at_once_take_further_pages() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    alice.send_text(&room_id, "old").await;
    let notice = json!({ "msgtype": "m.notice", "body": "beep" });
    for number in 0..510 {
        alice
            .send(&room_id, &number.to_string(), notice.clone())
            .await;
    }
    let list = "/_matrix/client/v3/notifications";
    let page = bob.get(list).await.ok();
    assert!(bodies(&page).is_empty());
    let from = page["next_token"].as_str().unwrap();
    let page = bob.get(&format!("{list}?from={from}")).await.ok();
    assert_eq!(bodies(&page), [("old", false)]);
    assert!(page.get("next_token").is_none());
}

#[tokio::test]
async fn notification_settings_of_a_device_go_with_it() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let other = app.login(&alice, "OTHER").await;
    let since = alice.since().await;
    let data = |device_id: &str| {
        let name = format!("org.matrix.msc3890.local_notification_settings.{device_id}");
        let user_id = encoded(&alice.user_id);
        (
            format!("/_matrix/client/v3/user/{user_id}/account_data/{name}"),
            name,
        )
    };
    let ((own, _), (others, name)) = (data(&alice.device_id), data("OTHER"));
    for path in [&own, &others] {
        alice.put(path, json!({ "is_silenced": true })).await.ok();
    }
    other
        .post("/_matrix/client/v3/logout", json!({}))
        .await
        .ok();
    assert_eq!(alice.get(&others).await.refused(), (404, "M_NOT_FOUND"));
    assert_eq!(alice.get(&own).await.ok(), json!({ "is_silenced": true }));
    let events = alice.sync(&since).await["account_data"]["events"].take();
    let deleted = json!({ "type": name, "content": {} });
    assert!(events.as_array().unwrap().contains(&deleted), "{events}");
}

#[tokio::test]
async fn push_rules_for_polls_are_among_the_defaults() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let rule = |kind: &str, name: &str| {
        let path = "/_matrix/client/v3/pushrules/global";
        format!("{path}/{kind}/.org.matrix.msc3930.rule.{name}")
    };
    let response = alice.get(&rule("override", "poll_response")).await.ok();
    assert_eq!(response["actions"], json!([]));
    for name in [
        "poll_start",
        "poll_end",
        "poll_start_one_to_one",
        "poll_end_one_to_one",
    ] {
        let found = alice.get(&rule("underride", name)).await.ok();
        assert_eq!(found["actions"][0], "notify", "{name}");
    }
    let enabled = format!("{}/enabled", rule("underride", "poll_start"));
    alice.put(&enabled, json!({ "enabled": false })).await.ok();
    assert_eq!(alice.get(&enabled).await.ok(), json!({ "enabled": false }));
    for part in ["enabled", "actions"] {
        let unknown = format!("{}/{part}", rule("underride", "poll_unknown"));
        let body = json!({ "enabled": true, "actions": [] });
        assert_eq!(
            alice.put(&unknown, body).await.refused(),
            (404, "M_NOT_FOUND")
        );
        assert_eq!(alice.get(&unknown).await.refused(), (404, "M_NOT_FOUND"));
    }
}
