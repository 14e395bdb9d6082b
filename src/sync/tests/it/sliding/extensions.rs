//! What is told besides rooms.

use std::time::Duration;

use ruma::owned_device_id;
use serde_json::{Value, json};
use storage::{
    UserChange,
    stream::{AccountData, ToDevice as Message},
};
use sync::sliding_sync::{Scope, ToDevice};
use testkit::room::{TestRoom, commit_changes};
use types::RoomNid;

use super::{Client, config, everywhere, of, rooms_in};
use crate::support::{alice, bob, server};

fn message(n: usize) -> UserChange {
    UserChange::ToDevice(Message {
        user_id: alice(),
        device_id: owned_device_id!("PHONE"),
        sender: bob(),
        event_type: "m.test".to_owned(),
        content: json!({ "n": n }).to_string().into(),
        transaction: None,
    })
}

fn data(room_nid: Option<RoomNid>, event_type: &str) -> UserChange {
    UserChange::AccountData(AccountData {
        user_id: alice(),
        room_nid,
        event_type: event_type.to_owned(),
        content: "{\"a\":1}".to_owned(),
    })
}

#[tokio::test]
async fn messages_are_acknowledged_by_their_own_token() {
    let server = server().await;
    let mut client = Client::new(&server, &alice()).await;
    commit_changes(&server.db, (0..3).map(message)).await;
    let numbers = |answer: &Value| -> Vec<u64> {
        let events = answer["extensions"]["to_device"]["events"]
            .as_array()
            .unwrap();
        let number = |event: &Value| event["content"]["n"].as_u64().unwrap();
        events.iter().map(number).collect()
    };
    let next = |answer: &Value| {
        let next = answer["extensions"]["to_device"]["next_batch"].as_str();
        next.map(str::to_owned)
    };
    let ask = |since: Option<String>, limit| Some(ToDevice { since, limit });
    client.request.extensions.to_device = ask(None, Some(2));
    let first = client.sync(&server).await;
    assert_eq!(numbers(&first), [0, 1]);
    // The position does not acknowledge them.
    let again = client.sync(&server).await;
    assert_eq!(numbers(&again), [0, 1]);
    client.request.extensions.to_device = ask(next(&again), None);
    client.request.pos = None;
    let second = client.sync(&server).await;
    assert_eq!(numbers(&second), [2]);
    client.request.extensions.to_device = ask(next(&second), None);
    client.request.timeout = Duration::from_hours(1);
    let (third, _) = tokio::join!(
        client.peek(&server),
        commit_changes(&server.db, [message(3)])
    );
    assert_eq!(numbers(&third), [3]);
    client.request.extensions.to_device = ask(None, None);
    assert_eq!(numbers(&client.peek(&server).await), [3]);
    client.request.extensions.to_device = ask(Some("x".to_owned()), None);
    assert!(client.try_sync(&server).await.is_err());
}

#[tokio::test]
async fn device_lists_follow_a_position_and_key_counts_are_always_there() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let mut client = Client::new(&server, &alice()).await;
    client.request.extensions.e2ee = true;
    let first = client.sync(&server).await;
    let e2ee = &first["extensions"]["e2ee"];
    assert!(e2ee.get("device_lists").is_none());
    assert!(e2ee["device_one_time_keys_count"].is_object());
    assert!(e2ee["device_unused_fallback_key_types"].is_array());
    commit_changes(&server.db, [UserChange::DeviceList { user_id: bob() }]).await;
    let answer = client.sync(&server).await;
    assert_eq!(
        answer["extensions"]["e2ee"]["device_lists"]["changed"],
        json!([bob()])
    );
    let answer = client.sync(&server).await;
    assert!(answer["extensions"]["e2ee"].get("device_lists").is_none());
}

#[tokio::test]
async fn account_data_is_sent_once_and_where_it_is_asked_for() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let other = TestRoom::create(&server.db, &alice()).await;
    let tags = [
        data(Some(room.room_nid), "m.tag"),
        data(Some(other.room_nid), "m.tag"),
    ];
    commit_changes(&server.db, tags.into_iter().chain([data(None, "org.x")])).await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    client.subscribe(&room, config(1, &[]));
    client.request.extensions.account_data = Some(Scope {
        lists: Some(Vec::new()),
        rooms: Some(vec!["*".to_owned()]),
    });
    let expected = json!([{ "type": "m.tag", "content": { "a": 1 } }]);
    let answer = client.sync(&server).await;
    let found = &answer["extensions"]["account_data"];
    assert_eq!(found["rooms"], json!({ room.room_id.as_str(): expected }));
    let global = found["global"].as_array().unwrap();
    let types: Vec<_> = global.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["org.x", "m.push_rules"]);
    let answer = client.sync(&server).await;
    assert!(answer["extensions"].get("account_data").is_none());
    commit_changes(
        &server.db,
        [data(Some(room.room_nid), "m.tag"), data(None, "org.y")],
    )
    .await;
    let answer = client.sync(&server).await;
    let found = &answer["extensions"]["account_data"];
    assert_eq!(found["rooms"], json!({ room.room_id.as_str(): expected }));
    assert_eq!(
        found["global"],
        json!([{ "type": "org.y", "content": { "a": 1 } }])
    );
    assert_eq!(rooms_in(&answer), 0);
}

#[tokio::test]
async fn account_data_of_a_room_outside_of_the_window_comes_with_the_room() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let mut client = Client::new(&server, &alice()).await;
    client.list("all", (0, 0), config(1, &[]));
    client.request.extensions.account_data = Some(everywhere());
    client.sync(&server).await;
    TestRoom::create(&server.db, &alice()).await;
    client.sync(&server).await;
    commit_changes(&server.db, [data(Some(room.room_nid), "m.tag")]).await;
    let answer = client.sync(&server).await;
    assert!(answer["extensions"].get("account_data").is_none());
    room.message(&server.db, &alice(), "on top").await;
    let answer = client.sync(&server).await;
    let rooms = &answer["extensions"]["account_data"]["rooms"];
    assert_eq!(rooms[room.room_id.as_str()][0]["type"], "m.tag");
}

#[tokio::test]
async fn receipts_are_sent_for_the_timeline_and_when_they_change() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let old = room.message(&server.db, &alice(), "old").await;
    let new = room.message(&server.db, &alice(), "new").await;
    let threaded = room
        .receipt(&server.db, &bob(), "m.read", "main", &old)
        .await;
    let whole = room.receipt(&server.db, &bob(), "m.read", "", &new).await;
    commit_changes(&server.db, [threaded, whole]).await;
    let mut client = Client::new(&server, &alice()).await;
    client.list("all", (0, 9), config(1, &[]));
    client.request.extensions.receipts = Some(everywhere());
    let receipts =
        |answer: &Value| answer["extensions"]["receipts"]["rooms"][room.room_id.as_str()].clone();
    let answer = client.sync(&server).await;
    let expected = json!({ "m.read": { bob().as_str(): { "ts": 7 } } });
    assert_eq!(
        receipts(&answer),
        json!({ "type": "m.receipt", "content": { new.as_str(): expected } })
    );
    let private = room
        .receipt(&server.db, &bob(), "m.read.private", "", &new)
        .await;
    commit_changes(&server.db, [private]).await;
    assert!(receipts(&client.sync(&server).await).is_null());
    let newest = room.message(&server.db, &alice(), "newest").await;
    client.sync(&server).await;
    let read = room
        .receipt(&server.db, &bob(), "m.read", "", &newest)
        .await;
    commit_changes(&server.db, [read]).await;
    let answer = client.sync(&server).await;
    assert_eq!(receipts(&answer)["content"][newest.as_str()], expected);
    assert_eq!(rooms_in(&answer), 0);
}

#[tokio::test]
async fn typing_users_are_sent_until_they_stop() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    client.request.extensions.typing = Some(everywhere());
    client.sync(&server).await;
    client.request.timeout = Duration::from_hours(1);
    let typing = |answer: &Value| {
        let room = &answer["extensions"]["typing"]["rooms"][room.room_id.as_str()];
        room["content"]["user_ids"].clone()
    };
    let bob = bob();
    let long = Some(Duration::from_secs(30));
    let types = server.live.set_typing(&bob, &room.room_id, long);
    let (answer, typed) = tokio::join!(client.peek(&server), types);
    assert!(typed.unwrap());
    assert_eq!(typing(&answer), json!([bob]));
    assert_eq!(rooms_in(&answer), 0);
    client.go_on(&answer);
    // A message does not repeat it.
    room.message(&server.db, &bob, "hello").await;
    let answer = client.sync(&server).await;
    assert!(typing(&answer).is_null() && !of(&answer, &room).is_null());
    let stops = server.live.set_typing(&bob, &room.room_id, None);
    let (answer, _) = tokio::join!(client.peek(&server), stops);
    assert_eq!(typing(&answer), json!([]));
}
