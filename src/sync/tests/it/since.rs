//! What is new since a token.

use serde_json::json;
use storage::{UserChange, stream::AccountData};
use testkit::room::{TestRoom, commit_changes};

use crate::support::{alice, bob, bodies, next, server};

#[tokio::test]
async fn only_changes_are_returned() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let quiet = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    room.message(&server.db, &alice(), "new").await;
    let answer = server.sync(&alice(), Some(&token)).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(bodies(&section["timeline"]["events"]), ["new"]);
    assert_eq!(section["timeline"]["limited"], false);
    assert_eq!(section["state"]["events"], json!([]));
    assert!(section.get("summary").is_none());
    assert!(
        answer["rooms"]["join"]
            .get(quiet.room_id.as_str())
            .is_none()
    );

    let answer = server.sync(&alice(), Some(&next(&answer))).await;
    assert!(answer.get("rooms").is_none());
}

#[tokio::test]
async fn transaction_ids_are_for_the_device_that_sent() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&alice()).await;
    room.message_from(&server.db, &alice(), "PHONE", "mine")
        .await;
    room.message_from(&server.db, &alice(), "LAPTOP", "also mine")
        .await;
    let answer = server.sync(&alice(), Some(&token)).await;
    let events = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"]["events"];
    assert_eq!(events[0]["unsigned"]["transaction_id"], "mine");
    assert!(events[1]["unsigned"].get("transaction_id").is_none());
    let answer = server.sync(&bob(), Some(&token)).await;
    let events = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"]["events"];
    assert!(events[0]["unsigned"].get("transaction_id").is_none());
}

#[tokio::test]
async fn redacted_event_is_returned_without_its_content() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    let secret = room.message(&server.db, &alice(), "secret").await;
    server.sync(&alice(), Some(&token)).await;
    let redaction = room.redact(&server.db, &alice(), &secret).await;
    let answer = server.sync(&alice(), Some(&token)).await;
    let events = &answer["rooms"]["join"][room.room_id.as_str()]["timeline"]["events"];
    assert_eq!(events[0]["content"], json!({}));
    assert_eq!(
        events[0]["unsigned"]["redacted_because"]["event_id"],
        redaction.as_str()
    );
}

#[tokio::test]
async fn receipts_are_returned_but_private_ones_only_to_their_user() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let event_id = room.message(&server.db, &alice(), "read me").await;
    let token = server.token(&alice()).await;
    let threaded = room
        .receipt(&server.db, &bob(), "m.read", "main", &event_id)
        .await;
    let private = room
        .receipt(&server.db, &bob(), "m.read.private", "", &event_id)
        .await;
    commit_changes(&server.db, [threaded, private]).await;
    let ephemeral = |answer: &serde_json::Value| {
        answer["rooms"]["join"][room.room_id.as_str()]["ephemeral"]["events"][0].clone()
    };
    let public = json!({ bob().as_str(): { "ts": 7, "thread_id": "main" } });
    let answer = server.sync(&alice(), Some(&token)).await;
    assert_eq!(
        ephemeral(&answer),
        json!({ "type": "m.receipt", "content": { event_id.as_str(): { "m.read": public } } })
    );
    let private = json!({ bob().as_str(): { "ts": 7 } });
    let answer = server.sync(&bob(), Some(&token)).await;
    let both = json!({ "m.read": public, "m.read.private": private });
    assert_eq!(ephemeral(&answer)["content"][event_id.as_str()], both);
}

#[tokio::test]
async fn global_and_room_account_data_is_returned_once() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    let data = |room_nid, event_type: &str| {
        UserChange::AccountData(AccountData {
            user_id: alice(),
            room_nid,
            event_type: event_type.to_owned(),
            content: "{\"a\":1}".to_owned(),
        })
    };
    commit_changes(
        &server.db,
        [data(None, "org.x"), data(Some(room.room_nid), "m.tag")],
    )
    .await;
    let answer = server.sync(&alice(), Some(&token)).await;
    assert_eq!(
        answer["account_data"]["events"],
        json!([{ "type": "org.x", "content": { "a": 1 } }])
    );
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(
        section["account_data"]["events"],
        json!([{ "type": "m.tag", "content": { "a": 1 } }])
    );
    let answer = server.sync(&alice(), Some(&next(&answer))).await;
    assert!(answer.get("rooms").is_none() && answer.get("account_data").is_none());
}

#[tokio::test]
async fn messages_of_ignored_users_are_left_out() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&alice()).await;
    let list = json!({ "ignored_users": { bob().as_str(): {} } }).to_string();
    let ignored = UserChange::AccountData(AccountData {
        user_id: alice(),
        room_nid: None,
        event_type: "m.ignored_user_list".to_owned(),
        content: list,
    });
    commit_changes(&server.db, [ignored]).await;
    room.message(&server.db, &bob(), "noise").await;
    room.message(&server.db, &alice(), "signal").await;
    let answer = server.sync(&alice(), Some(&token)).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(bodies(&section["timeline"]["events"]), ["signal"]);
}
