//! Keys of devices: upload, look up, claim, and who hears of it.

use serde_json::{Value, json};

use crate::app::{TestApp, TestUser, since};

const KEYS: &str = "/_matrix/client/v3/keys";

/// Identity keys of a user's device; clients ignore them without a signature, the server does not.
fn device_keys(user: &TestUser, key: &str) -> Value {
    json!({
        "user_id": user.user_id,
        "device_id": user.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            format!("curve25519:{}", user.device_id): key,
            format!("ed25519:{}", user.device_id): key,
        },
    })
}

async fn upload(user: &TestUser, body: Value) -> Value {
    user.post(&format!("{KEYS}/upload"), body).await.ok()
}

async fn query(by: &TestUser, of: &TestUser) -> Value {
    let body = json!({ "device_keys": { &of.user_id: [] } });
    by.post(&format!("{KEYS}/query"), body).await.ok()
}

async fn claim(by: &TestUser, of: &TestUser) -> Value {
    let device = json!({ &of.device_id: "signed_curve25519" });
    let body = json!({ "one_time_keys": { &of.user_id: device } });
    by.post(&format!("{KEYS}/claim"), body).await.ok()
}

/// Syncs until an answer satisfies the condition; returns that answer.
pub(super) async fn sync_until(
    user: &TestUser,
    since: &str,
    satisfied: impl Fn(&Value) -> bool,
) -> Value {
    let mut since = since.to_owned();
    loop {
        let path = format!("/_matrix/client/v3/sync?timeout=60000&since={since}");
        let answer = user.get(&path).await.ok();
        if satisfied(&answer) {
            return answer;
        }
        answer["next_batch"]
            .as_str()
            .unwrap()
            .clone_into(&mut since);
    }
}

/// Where the user's next sync goes on.
pub(super) async fn next_batch(user: &TestUser) -> String {
    let answer = user.get("/_matrix/client/v3/sync").await.ok();
    answer["next_batch"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn query_returns_device_keys_as_uploaded() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let keys = device_keys(&alice, "one");
    let counts = upload(&alice, json!({ "device_keys": keys })).await;
    assert_eq!(
        counts,
        json!({ "one_time_key_counts": { "signed_curve25519": 0 } })
    );
    let found = query(&bob, &alice).await;
    let found = &found["device_keys"][&alice.user_id][&alice.device_id];
    assert_eq!(found["keys"], keys["keys"]);
    assert_eq!(found["algorithms"], keys["algorithms"]);
    assert_eq!(
        query(&bob, &bob).await["device_keys"][&bob.user_id],
        json!({})
    );
}

#[tokio::test]
async fn malformed_uploads_and_queries_are_bad_json() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let incomplete = json!({ "user_id": alice.user_id, "device_id": alice.device_id });
    for (path, body) in [
        ("upload", json!({ "device_keys": incomplete })),
        ("upload", json!({ "device_keys": "text" })),
        (
            "upload",
            json!({ "one_time_keys": { "signed_curve25519:A": 7 } }),
        ),
        (
            "query",
            json!({ "device_keys": { &bob.user_id: { "device_id": "A" } } }),
        ),
        ("query", json!({ "device_keys": [] })),
        ("claim", json!({ "one_time_keys": { &bob.user_id: "A" } })),
        (
            "device_signing/upload",
            json!({ "master_key": { "usage": ["master"] } }),
        ),
    ] {
        let answer = alice.post(&format!("{KEYS}/{path}"), body.clone()).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{path} {body}");
    }
    let foreign = json!({ "device_keys": device_keys(&bob, "one") });
    let answer = alice.post(&format!("{KEYS}/upload"), foreign).await;
    assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn one_time_key_is_claimed_once_and_its_device_gets_new_counts() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let since = next_batch(&alice).await;
    let keys = json!({ "signed_curve25519:A": { "key": "a" } });
    let fallback = json!({ "signed_curve25519:F": { "key": "f", "fallback": true } });
    upload(
        &alice,
        json!({ "one_time_keys": keys, "fallback_keys": fallback }),
    )
    .await;
    let left = |answer: &Value| answer["device_one_time_keys_count"]["signed_curve25519"].clone();
    let unused = |answer: &Value| answer["device_unused_fallback_key_types"].clone();
    let answer = sync_until(&alice, &since, |answer| left(answer) == 1).await;
    assert_eq!(unused(&answer), json!(["signed_curve25519"]));

    for expected in [&keys, &fallback, &fallback] {
        let claimed = claim(&bob, &alice).await;
        assert_eq!(
            &claimed["one_time_keys"][&alice.user_id][&alice.device_id],
            expected
        );
    }
    let since = answer["next_batch"].as_str().unwrap();
    let used_up = |answer: &Value| left(answer) == 0 && unused(answer) == json!([]);
    sync_until(&alice, since, used_up).await;

    let other = json!({ "signed_curve25519:B": { "key": "b" } });
    upload(&alice, json!({ "one_time_keys": other })).await;
    let changed = json!({ "one_time_keys": { "signed_curve25519:B": { "key": "changed" } } });
    let answer = alice.post(&format!("{KEYS}/upload"), changed).await;
    assert_eq!(answer.refused(), (400, "M_UNKNOWN"));
}

#[tokio::test]
async fn new_device_keys_appear_in_device_lists_of_shared_rooms() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let before = next_batch(&alice).await;
    bob.join(&room_id).await.ok();
    let has_changed = |answer: &Value| answer["device_lists"]["changed"] == json!([bob.user_id]);
    let joined = sync_until(&alice, &before, has_changed).await;
    let since = joined["next_batch"].as_str().unwrap();
    upload(&bob, json!({ "device_keys": device_keys(&bob, "one") })).await;
    let updated = sync_until(&alice, since, has_changed).await;
    let to = updated["next_batch"].as_str().unwrap();
    let changes = alice
        .get(&format!("{KEYS}/changes?from={since}&to={to}"))
        .await
        .ok();
    assert_eq!(changes, json!({ "changed": [bob.user_id], "left": [] }));

    bob.leave(&room_id).await.ok();
    let has_left = |answer: &Value| answer["device_lists"]["left"] == json!([bob.user_id]);
    let left = sync_until(&alice, to, has_left).await;
    let end = left["next_batch"].as_str().unwrap();
    let changes = alice
        .get(&format!("{KEYS}/changes?from={to}&to={end}"))
        .await
        .ok();
    assert_eq!(changes, json!({ "changed": [], "left": [bob.user_id] }));
    let answer = alice
        .get(&format!("{KEYS}/changes?from=nonsense&to={end}"))
        .await;
    assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn query_returns_all_devices_or_the_listed_ones() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let phone = app.login(&bob, "PHONE").await;
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    bob.join(&room_id).await.ok();
    upload(&bob, json!({ "device_keys": device_keys(&bob, "one") })).await;
    let before = alice.since().await;
    upload(&phone, json!({ "device_keys": device_keys(&phone, "two") })).await;
    let answer = alice.sync(&before).await;
    assert_eq!(answer["device_lists"]["changed"], json!([bob.user_id]));
    let all = query(&alice, &bob).await;
    let all = all["device_keys"][&bob.user_id].as_object().unwrap();
    assert_eq!(all.len(), 2);
    let named = json!({ "device_keys": { &bob.user_id: ["PHONE"] } });
    let named = alice.post(&format!("{KEYS}/query"), named).await.ok();
    let named = named["device_keys"][&bob.user_id].as_object().unwrap();
    assert_eq!(named.keys().collect::<Vec<_>>(), ["PHONE"]);
}

#[tokio::test]
async fn one_time_keys_are_counted_once_and_claimed_in_the_order_of_their_upload() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let key = |id: &str| (format!("signed_curve25519:{id}"), json!({ "key": id }));
    let keys = |ids: &[&str]| Value::Object(ids.iter().map(|id| key(id)).collect());
    for (ids, expected) in [(&["C"][..], 1), (&["C", "B"], 2), (&["B", "A"], 3)] {
        let counts = upload(&alice, json!({ "one_time_keys": keys(ids) })).await;
        let counts = &counts["one_time_key_counts"];
        assert_eq!(*counts, json!({ "signed_curve25519": expected }));
    }
    for id in ["C", "B", "A"] {
        let claimed = claim(&bob, &alice).await;
        let given = &claimed["one_time_keys"][&alice.user_id][&alice.device_id];
        assert_eq!(*given, keys(&[id]));
    }
    let nothing = claim(&bob, &alice).await;
    assert_eq!(nothing["one_time_keys"].get(&alice.user_id), None);
}

#[tokio::test]
async fn device_list_changes_are_sent_while_a_room_is_shared() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let set_keys = async |key: &str| {
        upload(&bob, json!({ "device_keys": device_keys(&bob, key) })).await;
    };
    let mut token = alice.since().await;
    let mut changes = async || {
        let mut answer = alice.sync(&token).await;
        token = since(&answer);
        let mut list = |name: &str| answer["device_lists"][name].take();
        [list("changed"), list("left")].map(|users| users == json!([bob.user_id]))
    };
    set_keys("one").await;
    assert_eq!(changes().await, [true, false]);
    bob.leave(&room_id).await.ok();
    assert_eq!(changes().await, [false, true]);
    set_keys("two").await;
    assert_eq!(changes().await, [false, false]);
    bob.join(&room_id).await.ok();
    assert_eq!(changes().await, [true, false]);
    let found = query(&alice, &bob).await;
    let found = &found["device_keys"][&bob.user_id][&bob.device_id];
    assert_eq!(found["keys"], device_keys(&bob, "two")["keys"]);
    alice.leave(&room_id).await.ok();
    assert_eq!(changes().await, [false, true]);
}
