//! Messages to devices arrive by sync, once.

use serde_json::{Value, json};

use super::keys::next_batch;
use crate::app::TestApp;

fn messages(answer: &Value) -> &Vec<Value> {
    static NONE: Vec<Value> = Vec::new();
    answer["to_device"]["events"].as_array().unwrap_or(&NONE)
}

#[tokio::test]
async fn a_message_is_received_once_however_often_it_is_sent() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let since = next_batch(&bob).await;
    let content = json!({ "my_key": "my_value" });
    let body = json!({ "messages": { &bob.user_id: { &bob.device_id: content } } });
    let path = "/_matrix/client/v3/sendToDevice/my.test.type/t1";
    for _ in 0..2 {
        assert_eq!(alice.put(path, body.clone()).await.ok(), json!({}));
    }
    let last = json!({ "messages": { &bob.user_id: { "*": { "last": true } } } });
    alice
        .put("/_matrix/client/v3/sendToDevice/my.test.type/t2", last)
        .await
        .ok();

    // Always with the same token, as after a lost answer: what has been told is told again.
    let path = format!("/_matrix/client/v3/sync?timeout=60000&since={since}");
    let answer = loop {
        let answer = bob.get(&path).await.ok();
        if messages(&answer).len() > 1 {
            break answer;
        }
    };
    let expected = json!({ "type": "my.test.type", "sender": alice.user_id, "content": content });
    assert_eq!(messages(&answer)[0], expected);
    assert_eq!(messages(&answer).len(), 2);
    assert_eq!(messages(&bob.get(&path).await.ok()), messages(&answer));
    let next = answer["next_batch"].as_str().unwrap();
    let after = bob
        .get(&format!("/_matrix/client/v3/sync?since={next}"))
        .await
        .ok();
    assert!(messages(&after).is_empty());
}

#[tokio::test]
async fn malformed_and_oversized_messages_are_refused() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let path = "/_matrix/client/v3/sendToDevice/my.test.type/t1";
    let to_alice = |content: Value| json!({ "messages": { &alice.user_id: { "*": content } } });
    for body in [
        json!({}),
        json!({ "messages": [] }),
        to_alice(json!("text")),
    ] {
        let answer = alice.put(path, body.clone()).await;
        assert_eq!(answer.refused(), (400, "M_BAD_JSON"), "{body}");
    }
    let large = to_alice(json!({ "body": "x".repeat(65_536) }));
    assert_eq!(alice.put(path, large).await.refused(), (413, "M_TOO_LARGE"));
    let long = format!(
        "/_matrix/client/v3/sendToDevice/my.test.type/{}",
        "t".repeat(3000)
    );
    let answer = alice.put(&long, to_alice(json!({}))).await;
    assert_eq!(answer.refused(), (400, "M_INVALID_PARAM"));
    let answer = app.unauthenticated().put(path, to_alice(json!({}))).await;
    assert_eq!(answer.refused(), (401, "M_MISSING_TOKEN"));
}
