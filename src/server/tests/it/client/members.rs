//! `/members` and `/joined_members`.

use serde_json::{Value, json};

use crate::app::{Client, TestApp};

async fn members(client: &Client, room_id: &str, query: &str) -> Vec<String> {
    let path = format!("/_matrix/client/v3/rooms/{room_id}/members{query}");
    let answer = client.get(&path).await.ok();
    let mut members: Vec<String> = answer["chunk"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| described(event, room_id))
        .collect();
    members.sort();
    members
}

fn described(event: &Value, room_id: &str) -> String {
    assert_eq!(event["type"], "m.room.member");
    assert_eq!(event["room_id"], room_id);
    let user_id = event["state_key"].as_str().unwrap();
    let localpart = user_id.trim_start_matches('@').split(':').next().unwrap();
    format!(
        "{localpart} {}",
        event["content"]["membership"].as_str().unwrap()
    )
}

#[tokio::test]
async fn members_are_filtered_by_membership() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    bob.leave(&room_id).await.ok();
    assert_eq!(
        members(&alice, &room_id, "").await,
        ["alice join", "bob leave"]
    );
    assert_eq!(
        members(&alice, &room_id, "?membership=join").await,
        ["alice join"]
    );
    assert_eq!(
        members(&alice, &room_id, "?membership=leave").await,
        ["bob leave"]
    );
    assert_eq!(
        members(&alice, &room_id, "?not_membership=leave").await,
        ["alice join"]
    );
}

#[tokio::test]
async fn former_member_sees_the_members_at_the_leave() {
    let app = TestApp::start().await;
    let (alice, bob, charlie) = (
        app.user("alice").await,
        app.user("bob").await,
        app.user("charlie").await,
    );
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    bob.join(&room_id).await.ok();
    bob.leave(&room_id).await.ok();
    charlie.join(&room_id).await.ok();
    assert_eq!(
        members(&bob, &room_id, "").await,
        ["alice join", "bob leave"]
    );
    let path = format!("/_matrix/client/v3/rooms/{room_id}/joined_members");
    assert_eq!(bob.get(&path).await.refused(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn members_at_a_token_are_those_of_that_position() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    alice.send_text(&room_id, "hello").await;
    let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b&limit=1");
    let before = alice.get(&path).await.ok()["start"]
        .as_str()
        .unwrap()
        .to_owned();
    bob.join(&room_id).await.ok();
    assert_eq!(
        members(&alice, &room_id, &format!("?at={before}")).await,
        ["alice join"]
    );
}

#[tokio::test]
async fn joined_members_carry_their_profiles() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let room_id = alice.create_room(json!({})).await;
    let path = format!("/_matrix/client/v3/rooms/{room_id}/joined_members");
    let joined = alice.get(&path).await.ok();
    let profile = joined["joined"][&alice.user_id].as_object().unwrap();
    assert!(profile.contains_key("display_name"), "{profile:?}");
    assert!(profile.contains_key("avatar_url"), "{profile:?}");
}

#[tokio::test]
async fn non_members_cannot_list_members() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    for list in ["members", "joined_members"] {
        let answer = bob
            .get(&format!("/_matrix/client/v3/rooms/{room_id}/{list}"))
            .await;
        assert_eq!(answer.refused(), (403, "M_FORBIDDEN"), "{list}");
    }
}

#[tokio::test]
async fn members_at_prev_batch_of_a_full_timeline_are_the_first_ones() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice.create_room(json!({ "preset": "public_chat" })).await;
    let answer = alice.sync("").await;
    let before = &answer["rooms"]["join"][&room_id]["timeline"]["prev_batch"];
    let before = before.as_str().unwrap().to_owned();
    bob.join(&room_id).await.ok();
    assert_eq!(
        members(&alice, &room_id, &format!("?at={before}")).await,
        ["alice join"]
    );
}

#[tokio::test]
async fn joined_members_of_a_world_readable_room_are_public() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let stranger = app.user("stranger").await;
    let path = format!("/_matrix/client/v3/rooms/{room_id}/joined_members");
    assert_eq!(stranger.get(&path).await.refused().0, 403);
    let open = json!({ "history_visibility": "world_readable" });
    alice
        .set_state(&room_id, "m.room.history_visibility", "", open)
        .await
        .ok();
    let members = stranger.get(&path).await.ok();
    let members = members["joined"].as_object().unwrap();
    assert!(members.contains_key(&alice.user_id) && members.contains_key(&bob.user_id));
}
