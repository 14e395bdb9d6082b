//! What concerns a device and its keys.

use ruma::{OwnedUserId, device_id, owned_device_id};
use serde_json::json;
use storage::{UserChange, stream::ToDevice};
use testkit::{
    register_device,
    room::{TestRoom, commit_changes},
};

use crate::support::{alice, bob, next, server};

fn message(n: usize) -> UserChange {
    UserChange::ToDevice(ToDevice {
        user_id: alice(),
        device_id: owned_device_id!("PHONE"),
        sender: bob(),
        event_type: "m.test".to_owned(),
        content: json!({ "n": n }).to_string().into(),
        transaction: None,
    })
}

fn numbers(answer: &serde_json::Value) -> Vec<u64> {
    let events = answer["to_device"]["events"].as_array();
    events
        .into_iter()
        .flatten()
        .map(|event| event["content"]["n"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn messages_are_returned_until_they_are_acknowledged() {
    let server = server().await;
    register_device(&server.db.database, &alice(), device_id!("PHONE")).await;
    let token = server.token(&alice()).await;
    commit_changes(&server.db, [message(1)]).await;
    let first = server.sync(&alice(), Some(&token)).await;
    assert_eq!(numbers(&first), [1]);
    assert_eq!(first["to_device"]["events"][0]["sender"], bob().as_str());
    // The answer was lost: the same token gets the same.
    let again = server.sync(&alice(), Some(&token)).await;
    assert_eq!(numbers(&again), [1]);
    commit_changes(&server.db, [message(2)]).await;
    let second = server.sync(&alice(), Some(&next(&again))).await;
    assert_eq!(numbers(&second), [2]);
    // The first one is gone for good.
    let all = server.sync(&alice(), None).await;
    assert_eq!(numbers(&all), [2]);
    let last = server.sync(&alice(), Some(&next(&second))).await;
    assert!(numbers(&last).is_empty());
}

#[tokio::test]
async fn many_messages_come_in_several_answers_and_none_is_lost() {
    let server = server().await;
    register_device(&server.db.database, &alice(), device_id!("PHONE")).await;
    let mut token = server.token(&alice()).await;
    commit_changes(&server.db, (0..250).map(message)).await;
    let mut got = Vec::new();
    for expected in [100, 100, 50, 0] {
        let answer = server.sync(&alice(), Some(&token)).await;
        let batch = numbers(&answer);
        assert_eq!(batch.len(), expected);
        got.extend(batch);
        token = next(&answer);
    }
    assert_eq!(got, (0..250).collect::<Vec<_>>());
}

#[tokio::test]
async fn device_list_changes_reach_users_who_share_a_room() {
    let server = server().await;
    let carol: OwnedUserId = "@carol:test.localhost".try_into().unwrap();
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let (token, carols) = (server.token(&alice()).await, server.token(&carol).await);
    commit_changes(&server.db, [UserChange::DeviceList { user_id: bob() }]).await;
    let answer = server.sync(&alice(), Some(&token)).await;
    assert_eq!(
        answer["device_lists"],
        json!({ "changed": [bob()], "left": [] })
    );
    let answer = server.sync(&alice(), Some(&next(&answer))).await;
    assert!(answer.get("device_lists").is_none());
    let answer = server.sync(&carol, Some(&carols)).await;
    assert!(answer.get("device_lists").is_none());
}

#[tokio::test]
async fn leaving_users_are_listed_as_left_in_device_lists() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let answer = server.sync(&alice(), Some(&token)).await;
    assert_eq!(answer["device_lists"]["changed"], json!([bob()]));
    room.member(&server.db, &bob(), &bob(), "leave").await;
    let answer = server.sync(&alice(), Some(&next(&answer))).await;
    assert_eq!(
        answer["device_lists"],
        json!({ "changed": [], "left": [bob()] })
    );
}
