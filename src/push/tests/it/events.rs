//! What a gateway is told of events.

use ruma::owned_user_id;
use serde_json::{Value, json};
use testkit::{Queries, room::TestRoom};

use crate::support::{Gateway, Process, alice, bob, draft, started};

#[tokio::test]
async fn a_message_is_posted_with_what_clients_show() {
    let mut gateway = Gateway::start().await;
    let mut process = Process::new(testkit::database().await);
    let db = process.db.clone();
    let room = TestRoom::create(&db, &alice()).await;
    let name = json!({ "name": "Mission Control" });
    room.state(&db, &alice(), "m.room.name", "", name).await;
    let named = json!({ "membership": "join", "displayname": "Major Tom" });
    room.state(&db, &alice(), "m.room.member", alice().as_str(), named)
        .await;
    room.member(&db, &bob(), &bob(), "join").await;
    let data = json!({ "url": gateway.url, "topic": "x" });
    process.pusher_with(&bob(), "key", data).await;
    process.begin().await;
    process.start();
    let event_id = room.message(&db, &alice(), "I float").await;
    let expected = json!({
        "event_id": event_id,
        "room_id": room.room_id,
        "type": "m.room.message",
        "sender": alice(),
        "sender_display_name": "Major Tom",
        "room_name": "Mission Control",
        "content": { "msgtype": "m.text", "body": "I float" },
        "prio": "high",
        "counts": { "unread": 1 },
        "devices": [{
            "app_id": "org.example.app",
            "pushkey": "key",
            "pushkey_ts": 1_700_000_000,
            "data": { "topic": "x" },
            "tweaks": { "sound": "default" },
        }],
    });
    assert_eq!(gateway.next().await, expected);
}

#[tokio::test]
async fn of_the_event_only_its_id_is_told_if_the_client_asks_for_that() {
    let (process, mut gateway, room) = started().await;
    let data = json!({ "url": gateway.url, "format": "event_id_only", "default": { "a": 1 } });
    process.pusher_with(&bob(), "sparse", data).await;
    let event_id = room.message(&process.db, &alice(), "secret").await;
    let told = gateway.next_of("sparse").await;
    let device = &told["devices"][0];
    let data = json!({ "format": "event_id_only", "default": { "a": 1 } });
    assert_eq!(device["data"], data);
    let mut names: Vec<&String> = told.as_object().expect("an object").keys().collect();
    names.sort();
    assert_eq!(names, ["counts", "devices", "event_id", "prio", "room_id"]);
    assert_eq!(told["event_id"], event_id.as_str());
}

#[tokio::test]
async fn what_does_not_notify_is_not_posted() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    process.pusher(&alice(), "alice", &gateway).await;
    let notice = json!({ "msgtype": "m.notice", "body": "beep" });
    room.event(db, &alice(), "m.room.message", notice).await;
    room.event(db, &alice(), "org.example.other", json!({}))
        .await;
    let last = room.message(db, &alice(), "one").await;
    // Neither the notice, nor Alice's own message to herself: her badge alone, which has not been sent
    // yet.
    let (mut bobs, mut others) = (Vec::new(), Vec::new());
    while bobs.is_empty() {
        let next = gateway.next().await;
        if next["devices"][0]["pushkey"] == "key" {
            bobs.push(next["event_id"].clone());
        } else {
            others.push(next["event_id"].clone());
        }
    }
    assert_eq!(bobs, [last.as_str()]);
    assert!(others.iter().all(Value::is_null), "{others:?}");
}

#[tokio::test]
async fn priority_is_high_for_what_makes_a_sound_or_may() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    let carol = owned_user_id!("@carol:test.localhost");
    room.member(db, &carol, &carol, "join").await;
    let cases = [
        ("m.room.message", json!({ "body": "hello" }), "low"),
        ("m.room.encrypted", json!({ "ciphertext": "…" }), "high"),
        (
            "m.room.message",
            json!({ "body": "you", "m.mentions": { "user_ids": [bob()] } }),
            "high",
        ),
    ];
    for (unread, (event_type, content, priority)) in (1..).zip(cases) {
        room.event(db, &alice(), event_type, content).await;
        let told = gateway.next().await;
        assert_eq!(told["prio"], priority, "{told}");
        assert_eq!(told["counts"], json!({ "unread": unread }));
    }
    let mention = json!({ "body": "all", "m.mentions": { "room": true } });
    room.event(db, &alice(), "m.room.message", mention).await;
    let tweaks = json!({ "highlight": true });
    assert_eq!(gateway.next().await["devices"][0]["tweaks"], tweaks);
}

#[tokio::test]
async fn an_invitation_is_posted_to_the_one_who_is_invited() {
    let (process, mut gateway, _) = started().await;
    let db = &process.db;
    let other = TestRoom::create(db, &alice()).await;
    let invitation = other.member(db, &alice(), &bob(), "invite").await;
    let told = gateway.next().await;
    assert_eq!(told["event_id"], invitation.as_str());
    assert_eq!(told["user_is_target"], true);
    assert_eq!(told["content"]["membership"], "invite");
    // What is said there meanwhile is not told.
    other.message(db, &alice(), "hidden").await;
    other.member(db, &bob(), &bob(), "join").await;
    let first = other.message(db, &alice(), "seen").await;
    assert_eq!(gateway.next().await["event_id"], first.as_str());
}

#[tokio::test]
async fn changed_rules_apply_to_the_next_event() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    room.message(db, &alice(), "one").await;
    assert_eq!(gateway.next().await["content"]["body"], "one");
    let mute = json!({ "global": { "override": [{
        "rule_id": "mute", "default": false, "enabled": true, "actions": [],
        "conditions": [{ "kind": "event_match", "key": "content.body", "pattern": "muted" }],
    }] } });
    let change = storage::UserChange::AccountData(storage::stream::AccountData {
        user_id: bob(),
        room_nid: None,
        event_type: "m.push_rules".to_owned(),
        content: mute.to_string(),
    });
    testkit::room::commit_changes(db, [change]).await;
    room.message(db, &alice(), "muted").await;
    room.message(db, &alice(), "two").await;
    assert_eq!(gateway.next().await["content"]["body"], "two");
}

#[tokio::test]
async fn a_message_to_many_writes_nothing_for_its_members() {
    let (process, mut gateway, room) = started().await;
    let db = &process.db;
    let members = 30;
    for number in 1..members {
        let name = format!("@user{number}:test.localhost");
        let user_id = ruma::OwnedUserId::try_from(name).expect("a user id");
        room.member(db, &user_id, &user_id, "join").await;
        let session = process.session(&user_id, "PHONE").await;
        let data = json!({ "url": gateway.url });
        let key = format!("key{number}");
        let set = process
            .push
            .set_pusher(&user_id, session, draft(&key, data));
        set.await.expect("a pusher");
    }
    // Users and rooms are in memory after the first one.
    room.message(db, &alice(), "warm").await;
    for _ in 0..members {
        gateway.next().await;
    }
    let queries = Queries::listen();
    room.message(db, &alice(), "all").await;
    let mut told = Vec::new();
    for _ in 0..members {
        let next = gateway.next().await;
        assert_eq!(next["content"]["body"], "all");
        told.push(next["devices"][0]["pushkey"].to_string());
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), members);
    let statements = queries.take();
    // The message, the pushers, the cursor; the counts that are stored by the minute do not come yet.
    assert!(statements.len() < 10, "{statements:#?}");
}
