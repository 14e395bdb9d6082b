//! Backups of room keys: versions, which of two keys is kept, counts.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, encoded};

const VERSION: &str = "/_matrix/client/v3/room_keys/version";
const KEYS: &str = "/_matrix/client/v3/room_keys/keys";
const ROOM: &str = "!room:example.org";

fn backup(public_key: &str) -> Value {
    json!({
        "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": { "public_key": public_key, "signatures": {}, "org.example.more": [1] },
    })
}

fn key(is_verified: bool, first_message_index: u32, forwarded_count: u32) -> Value {
    json!({
        "is_verified": is_verified,
        "first_message_index": first_message_index,
        "forwarded_count": forwarded_count,
        "session_data": { "ephemeral": "e", "ciphertext": "c", "mac": "m" },
        "org.example.more": "kept",
    })
}

async fn create(user: &TestUser, public_key: &str) -> String {
    let created = user.post(VERSION, backup(public_key)).await.ok();
    created["version"].as_str().unwrap().to_owned()
}

fn of_session(version: &str, session_id: &str) -> String {
    let (room_id, session_id) = (encoded(ROOM), encoded(session_id));
    format!("{KEYS}/{room_id}/{session_id}?version={version}")
}

fn of_room(version: &str) -> String {
    format!("{KEYS}/{}?version={version}", encoded(ROOM))
}

fn all(version: &str) -> String {
    format!("{KEYS}?version={version}")
}

fn one(version: &str) -> String {
    format!("{VERSION}/{version}")
}

#[tokio::test]
async fn the_newest_backup_that_is_not_deleted_is_the_current_one() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let refused = alice.get(VERSION).await;
    assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    let first = create(&alice, "first").await;
    let second = create(&alice, "second").await;
    let found = alice.get(VERSION).await.ok();
    let mut expected = backup("second");
    expected["version"] = json!(second);
    expected["count"] = json!(0);
    expected["etag"] = found["etag"].clone();
    assert_eq!(found, expected);
    assert!(found["etag"].is_string());

    for _ in 0..2 {
        alice.delete(&one(&second)).await.ok();
    }
    let refused = alice.get(&one(&second)).await;
    assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    let found = alice.get(VERSION).await.ok();
    assert_eq!(found["version"], json!(first));
    // No version is given out twice.
    let third = create(&alice, "third").await;
    assert!(third != first && third != second);
    for unknown in ["77", "x", "01"] {
        for refused in [
            alice.get(&one(unknown)).await,
            alice.delete(&one(unknown)).await,
            alice.get(&all(unknown)).await,
        ] {
            assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
        }
    }
}

#[tokio::test]
async fn only_the_auth_data_of_a_backup_can_be_changed() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let version = create(&alice, "first").await;
    let mut update = backup("changed");
    update["version"] = json!(version);
    alice.put(&one(&version), update.clone()).await.ok();
    let found = alice.get(&one(&version)).await.ok();
    assert_eq!(found["auth_data"], update["auth_data"]);

    update["version"] = json!("77");
    let refused = alice.put(&one(&version), update).await;
    assert_eq!(refused.refused(), (400, "M_INVALID_PARAM"));
    let other = json!({ "algorithm": "org.example.other", "auth_data": {} });
    let refused = alice.put(&one(&version), other).await;
    assert_eq!(refused.refused(), (400, "M_INVALID_PARAM"));
    let refused = alice.put(&one("77"), backup("changed")).await;
    assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    let no_object = json!({ "algorithm": "org.example.other", "auth_data": [] });
    let refused = alice.post(VERSION, no_object).await;
    assert_eq!(refused.refused(), (400, "M_BAD_JSON"));
}

#[tokio::test]
async fn the_better_key_of_a_session_is_kept() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let version = create(&alice, "key").await;
    let path = of_session(&version, "session/1");
    let (mut etag, mut kept) = (None, Value::Null);
    for (sent, is_taken) in [
        (key(false, 10, 5), true),
        (key(false, 11, 0), false),
        (key(false, 10, 6), false),
        (key(false, 10, 5), false),
        (key(false, 10, 4), true),
        (key(false, 9, 9), true),
        (key(true, 20, 20), true),
        (key(false, 0, 0), false),
        (key(true, 19, 30), true),
    ] {
        let size = alice.put(&path, sent.clone()).await.ok();
        assert_eq!(size["count"], 1);
        assert_eq!(etag.as_ref() != Some(&size["etag"]), is_taken, "{sent}");
        etag = Some(size["etag"].clone());
        if is_taken {
            kept = sent;
        }
        assert_eq!(alice.get(&path).await.ok(), kept);
    }
}

#[tokio::test]
async fn keys_are_stored_read_and_deleted_by_backup_room_and_session() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let version = create(&alice, "key").await;
    create(&bob, "key").await;
    let rooms = json!({ "rooms": {
        ROOM: { "sessions": { "a": key(false, 1, 0), "b": key(false, 2, 0) } },
        "!other:example.org": { "sessions": { "a": key(false, 3, 0) } },
    }});
    let size = alice.put(&all(&version), rooms.clone()).await.ok();
    assert_eq!(size["count"], 3);
    assert_eq!(alice.get(&all(&version)).await.ok(), rooms);
    assert_eq!(bob.get(&all(&version)).await.ok(), json!({ "rooms": {} }));
    let more = json!({ "sessions": { "c": key(true, 0, 0) } });
    let size = alice.put(&of_room(&version), more).await.ok();
    assert_eq!(size["count"], 4);
    let found = alice.get(&of_room(&version)).await.ok();
    assert_eq!(found["sessions"].as_object().unwrap().len(), 3);

    let size = alice.delete(&of_session(&version, "b")).await.ok();
    assert_eq!(size["count"], 3);
    let refused = alice.get(&of_session(&version, "b")).await;
    assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    let size = alice.delete(&of_room(&version)).await.ok();
    assert_eq!(size["count"], 1);
    let empty = alice.get(&of_room(&version)).await.ok();
    assert_eq!(empty, json!({ "sessions": {} }));
    let etag = size["etag"].clone();
    let size = alice.delete(&of_room(&version)).await.ok();
    assert_eq!(size["etag"], etag);
    let size = alice.delete(&all(&version)).await.ok();
    assert_eq!(size["count"], 0);
}

#[tokio::test]
async fn keys_are_added_to_the_current_backup_only() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let refused = alice.put(&of_session("1", "a"), key(true, 0, 0)).await;
    assert_eq!(refused.refused(), (404, "M_NOT_FOUND"));
    let old = create(&alice, "old").await;
    alice
        .put(&of_session(&old, "a"), key(true, 0, 0))
        .await
        .ok();
    let current = create(&alice, "current").await;
    for version in [&*old, "77", "x"] {
        let refused = alice.put(&of_session(version, "b"), key(true, 0, 0)).await;
        assert_eq!(refused.refused(), (403, "M_WRONG_ROOM_KEYS_VERSION"));
        assert_eq!(refused.body["current_version"], json!(current));
    }
    // It can be read as long as it is there.
    alice.get(&of_session(&old, "a")).await.ok();
}

#[tokio::test]
async fn keys_that_are_no_keys_and_keys_beyond_the_limit_are_refused() {
    let app = TestApp::start_with(|config| config.limits.backup_keys_per_user = 2).await;
    let alice = app.user("alice").await;
    let version = create(&alice, "key").await;
    let without = |field: &str| {
        let mut key = key(true, 0, 0);
        key.as_object_mut().unwrap().remove(field);
        key
    };
    let mut negative = key(true, 0, 0);
    negative["forwarded_count"] = json!(-1);
    let mut text = key(true, 0, 0);
    text["session_data"] = json!("text");
    for wrong in [
        without("is_verified"),
        without("session_data"),
        without("first_message_index"),
        negative,
        text,
    ] {
        let refused = alice.put(&of_session(&version, "a"), wrong).await;
        assert_eq!(refused.refused(), (400, "M_BAD_JSON"));
    }
    let sessions = json!({ "sessions": { "a\u{0}": key(true, 0, 0) } });
    let refused = alice.put(&of_room(&version), sessions).await;
    assert_eq!(refused.refused(), (400, "M_INVALID_PARAM"));

    let two = json!({ "sessions": { "a": key(true, 0, 0), "b": key(true, 0, 0) } });
    alice.put(&of_room(&version), two.clone()).await.ok();
    alice.put(&of_room(&version), two).await.ok();
    let refused = alice.put(&of_session(&version, "c"), key(true, 0, 0)).await;
    assert_eq!(refused.refused(), (403, "M_USER_LIMIT_EXCEEDED"));
    let found = alice.get(&one(&version)).await.ok();
    assert_eq!(found["count"], 2);
}

#[tokio::test]
async fn devices_that_add_keys_at_the_same_time_are_counted_exactly() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let version = create(&alice, "key").await;
    let path = of_room(&version);
    let uploads = (0..8).map(|device| {
        // Each session is uploaded by two devices.
        let ids = (0..10).map(|number| format!("{}", (device / 2) * 10 + number));
        let sessions = ids.map(|id| (id, key(false, device, 0)));
        let body = json!({ "sessions": sessions.collect::<serde_json::Map<_, _>>() });
        let (alice, path) = (&alice, &path);
        async move { alice.put(path, body).await.ok() }
    });
    join_all(uploads).await;
    let found = alice.get(&one(&version)).await.ok();
    assert_eq!(found["count"], 40);
    let sessions = alice.get(&path).await.ok()["sessions"].clone();
    let sessions = sessions.as_object().unwrap();
    assert_eq!(sessions.len(), 40);
    for (id, key) in sessions {
        let best = id.parse::<u64>().unwrap() / 10 * 2;
        assert_eq!(key["first_message_index"], best);
    }
}
