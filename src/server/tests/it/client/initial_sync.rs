//! `/rooms/{roomId}/initialSync`.

use serde_json::{Value, json};

use crate::app::{TestApp, encoded};

fn path(room_id: &str) -> String {
    format!("/_matrix/client/v3/rooms/{room_id}/initialSync")
}

fn bodies(messages: &Value) -> Vec<&str> {
    let chunk = messages["chunk"].as_array().unwrap().iter();
    chunk
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}

#[tokio::test]
async fn a_member_gets_state_last_messages_and_account_data() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    for text in ["first", "second", "third"] {
        alice.send_text(&room_id, text).await;
    }
    let user_id = encoded(&bob.user_id);
    let data = format!("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data");
    bob.put(&format!("{data}/org.x"), json!({ "a": 1 }))
        .await
        .ok();
    bob.put(&format!("{data}/org.y"), json!({ "b": 1 }))
        .await
        .ok();
    bob.put(&format!("{data}/org.y"), json!({})).await.ok();

    let answer = bob.get(&format!("{}?limit=2", path(&room_id))).await.ok();
    assert_eq!(answer["room_id"], room_id);
    assert_eq!(answer["membership"], "join");
    assert_eq!(answer["visibility"], "private");
    assert_eq!(bodies(&answer["messages"]), ["second", "third"]);
    let state = format!("/_matrix/client/v3/rooms/{room_id}/state");
    let types = |state: &Value| {
        let state = state.as_array().unwrap().iter();
        let mut types: Vec<_> = state.map(|event| event["event_id"].to_string()).collect();
        types.sort();
        types
    };
    assert_eq!(types(&answer["state"]), types(&bob.get(&state).await.ok()));
    let expected = json!([{ "type": "org.x", "content": { "a": 1 } }]);
    assert_eq!(answer["account_data"], expected);
    // Its ends lead on.
    let start = answer["messages"]["start"].as_str().unwrap();
    let messages = format!("/_matrix/client/v3/rooms/{room_id}/messages?limit=1");
    let older = bob
        .get(&format!("{messages}&dir=b&from={start}"))
        .await
        .ok();
    assert_eq!(bodies(&older), ["first"]);
    alice.send_text(&room_id, "fourth").await;
    let end = answer["messages"]["end"].as_str().unwrap();
    let newer = bob.get(&format!("{messages}&dir=f&from={end}")).await.ok();
    assert_eq!(bodies(&newer), ["fourth"]);
}

#[tokio::test]
async fn strangers_look_into_world_readable_rooms_only() {
    let app = TestApp::start().await;
    let (alice, _, room_id) = app.public_room().await;
    alice.send_text(&room_id, "hello").await;
    let carol = app.user("carol").await;
    let refused = carol.get(&path(&room_id)).await;
    assert_eq!(refused.refused(), (403, "M_FORBIDDEN"));
    let content = json!({ "history_visibility": "world_readable" });
    alice
        .set_state(&room_id, "m.room.history_visibility", "", content)
        .await
        .ok();
    alice.send_text(&room_id, "seen").await;
    let answer = carol.get(&path(&room_id)).await.ok();
    assert_eq!(answer.get("membership"), None);
    assert_eq!(bodies(&answer["messages"]), ["seen"]);
    let unknown = carol.get(&path("!unknown:example.org")).await;
    assert_eq!(unknown.refused(), (403, "M_FORBIDDEN"));
    let bad = carol.get(&format!("{}?limit=x", path(&room_id))).await;
    assert_eq!(bad.refused(), (400, "M_INVALID_PARAM"));
}
