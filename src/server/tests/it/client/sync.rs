//! `/sync`, as far as it joins what other endpoints did; its own rules are tested in `sync`.

mod former_member;
mod leaving;
mod rooms;

use serde_json::{Value, json};

use crate::app::{TestApp, encoded, filter, since};

#[tokio::test]
async fn waiting_client_is_woken_by_a_message() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let waiting = format!("{}&timeout=10000", bob.since().await);
    let (woken, event_id) = tokio::join!(bob.sync(&waiting), alice.send_text(&room_id, "hello"));
    let timeline = &woken["rooms"]["join"][&room_id]["timeline"]["events"];
    assert_eq!(timeline[0]["event_id"], event_id);
    assert_eq!(timeline[0]["unsigned"]["membership"], "join");
}

#[tokio::test]
async fn invited_user_sees_stripped_state_and_then_the_room() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let room_id = alice
        .create_room(json!({ "name": "Budget", "invite": [bob.user_id] }))
        .await;
    let invited = bob.sync("").await;
    let state = invited["rooms"]["invite"][&room_id]["invite_state"]["events"]
        .as_array()
        .unwrap();
    let event_types: Vec<&str> = state
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    for event_type in [
        "m.room.create",
        "m.room.name",
        "m.room.join_rules",
        "m.room.member",
    ] {
        assert!(
            event_types.contains(&event_type),
            "{event_type} in {event_types:?}"
        );
    }
    let create = state.iter().find(|event| event["type"] == "m.room.create");
    let create = create.expect("the create event");
    for field in ["event_id", "origin_server_ts", "sender", "content"] {
        assert!(create.get(field).is_some(), "{field} in {create}");
    }
    let since = since(&invited);
    bob.join(&room_id).await.ok();
    let joined = bob.sync(&since).await;
    let events = joined["rooms"]["join"][&room_id]["timeline"]["events"]
        .as_array()
        .unwrap();
    let joins = events.iter().filter(|event| {
        event["state_key"] == bob.user_id && event["content"]["membership"] == "join"
    });
    assert_eq!(joins.count(), 1);
    assert_eq!(joined["rooms"]["invite"].get(&room_id), None);
}

#[tokio::test]
async fn invites_from_ignored_users_are_not_shown() {
    let app = TestApp::start().await;
    let (alice, bob, chris) = (
        app.user("alice").await,
        app.user("bob").await,
        app.user("chris").await,
    );
    let user = format!("/_matrix/client/v3/user/{}", encoded(&alice.user_id));
    let ignored = json!({ "ignored_users": { &bob.user_id: {} } });
    alice
        .put(&format!("{user}/account_data/m.ignored_user_list"), ignored)
        .await
        .ok();
    let since = alice.since().await;
    let hidden = bob.create_room(json!({ "invite": [alice.user_id] })).await;
    let shown = chris
        .create_room(json!({ "invite": [alice.user_id] }))
        .await;
    let synced = alice.sync(&since).await;
    assert_eq!(synced["rooms"]["invite"].get(&hidden), None);
    assert!(synced["rooms"]["invite"][&shown].is_object(), "{synced}");
}

#[tokio::test]
async fn typing_receipts_and_account_data_come_down() {
    let app = TestApp::start().await;
    let (alice, bob, room_id) = app.public_room().await;
    let event_id = alice.send_text(&room_id, "hello").await;
    let since = bob.since().await;
    let typing = format!(
        "/_matrix/client/v3/rooms/{room_id}/typing/{}",
        encoded(&alice.user_id)
    );
    alice
        .put(&typing, json!({ "typing": true, "timeout": 30_000 }))
        .await
        .ok();
    alice
        .room(&room_id, &format!("receipt/m.read/{event_id}"), json!({}))
        .await
        .ok();
    bob.room(
        &room_id,
        "read_markers",
        json!({ "m.fully_read": event_id }),
    )
    .await
    .ok();
    let synced = bob.sync(&since).await;
    let room = &synced["rooms"]["join"][&room_id];
    let ephemeral = room["ephemeral"]["events"].as_array().unwrap();
    let typing = ephemeral
        .iter()
        .find(|event| event["type"] == "m.typing")
        .unwrap();
    assert_eq!(typing["content"]["user_ids"], json!([alice.user_id]));
    let receipt = ephemeral
        .iter()
        .find(|event| event["type"] == "m.receipt")
        .unwrap();
    assert!(receipt["content"][&event_id]["m.read"][&alice.user_id].is_object());
    assert_eq!(receipt.get("room_id"), None);
    let markers = room["account_data"]["events"].as_array().unwrap();
    assert_eq!(markers[0]["type"], "m.fully_read");
    assert_eq!(markers[0]["content"]["event_id"], event_id);
}

#[tokio::test]
async fn push_rules_come_down_and_their_change_wakes() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let first = alice.sync("").await;
    let of = |synced: &Value| {
        let events = synced["account_data"]["events"].as_array().unwrap().clone();
        events
            .into_iter()
            .find(|event| event["type"] == "m.push_rules")
    };
    assert!(of(&first).unwrap()["content"]["global"].is_object());
    let waiting = format!("{}&timeout=10000", since(&first));
    let path = "/_matrix/client/v3/pushrules/global/room/!foo:example.com";
    let (woken, put) = tokio::join!(
        alice.sync(&waiting),
        alice.put(path, json!({ "actions": ["notify"] })),
    );
    put.ok();
    assert_eq!(
        of(&woken).unwrap()["content"]["global"]["room"][0]["rule_id"],
        "!foo:example.com"
    );
}

#[tokio::test]
async fn to_device_messages_arrive_and_go_when_acknowledged() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice").await, app.user("bob").await);
    let before = bob.since().await;
    let messages = json!({ "messages": { &bob.user_id: { &bob.device_id: { "a": 1 } } } });
    for _ in 0..2 {
        let path = "/_matrix/client/v3/sendToDevice/org.example/once";
        alice.put(path, messages.clone()).await.ok();
    }
    let first = bob.sync(&before).await;
    let events = first["to_device"]["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{first}");
    assert_eq!(events[0]["content"], json!({ "a": 1 }));
    assert_eq!(events[0]["sender"], alice.user_id);
    let repeated = bob.sync(&before).await;
    assert_eq!(repeated["to_device"]["events"].as_array().unwrap().len(), 1);
    let next = since(&first);
    let acknowledged = bob.sync(&next).await;
    assert_eq!(
        acknowledged["to_device"]["events"]
            .as_array()
            .map_or(0, Vec::len),
        0
    );
}

#[tokio::test]
async fn left_room_is_in_leave_once_and_forgotten_room_never() {
    let app = TestApp::start().await;
    let (_, bob, room_id) = app.public_room().await;
    let since = bob.since().await;
    bob.leave(&room_id).await.ok();
    let left = bob.sync(&since).await;
    assert!(left["rooms"]["leave"][&room_id].is_object(), "{left}");
    bob.room(&room_id, "forget", json!({})).await.ok();
    let forgotten = bob.sync(&since).await;
    assert!(
        forgotten["rooms"]["leave"][&room_id].is_object(),
        "{forgotten}"
    );
    let archived = filter(&json!({ "room": { "include_leave": true } }));
    let fresh = bob.sync(&archived).await;
    for section in ["join", "invite", "leave"] {
        assert_eq!(fresh["rooms"][section].get(&room_id), None, "{section}");
    }
}

#[tokio::test]
async fn every_change_of_a_push_rule_comes_down() {
    let app = TestApp::start().await;
    let alice = app.user("alice").await;
    let rule = "/_matrix/client/v3/pushrules/global/room/!foo:example.com";
    for (part, body) in [
        ("", json!({ "actions": ["notify"] })),
        ("/enabled", json!({ "enabled": false })),
        ("/enabled", json!({ "enabled": true })),
        ("/actions", json!({ "actions": ["dont_notify"] })),
    ] {
        let before = alice.since().await;
        alice.put(&format!("{rule}{part}"), body.clone()).await.ok();
        let answer = alice.sync(&before).await;
        let told = &answer["account_data"]["events"][0];
        assert_eq!(told["type"], "m.push_rules", "{body}");
        let told = &told["content"]["global"]["room"][0];
        for (field, value) in body.as_object().unwrap() {
            assert_eq!(told[field], *value, "{told}");
        }
    }
}
