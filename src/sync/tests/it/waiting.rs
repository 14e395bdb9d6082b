//! Long polling: what ends the wait of a request.

use std::time::Duration;

use ruma::{OwnedUserId, UserId};
use serde_json::json;
use storage::{UserChange, cluster::Typing, stream::AccountData};
use testkit::room::{TestRoom, commit_changes};
use tokio::sync::mpsc;

use crate::support::{MAX_TYPING_USERS, alice, bob, bodies, next, request, server};

const LONG: Duration = Duration::from_hours(1);

#[tokio::test]
async fn waiting_client_is_answered_when_a_message_comes() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    let mut waits = request(&alice(), Some(&token));
    waits.timeout = LONG;
    let alice = alice();
    let (answer, _) = tokio::join!(server.ask(&waits), room.message(&server.db, &alice, "now"));
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert_eq!(bodies(&section["timeline"]["events"]), ["now"]);
}

#[tokio::test]
async fn waiting_client_is_answered_when_typing_starts_and_stops() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&alice()).await;
    let mut waits = request(&alice(), Some(&token));
    waits.timeout = LONG;
    let bob = bob();
    let types = server
        .live
        .set_typing(&bob, &room.room_id, Some(Duration::from_secs(30)));
    let (answer, typed) = tokio::join!(server.ask(&waits), types);
    assert!(typed.unwrap());
    let ephemeral = |answer: &serde_json::Value| {
        let section = &answer["rooms"]["join"][room.room_id.as_str()];
        section["ephemeral"]["events"][0]["content"]["user_ids"].clone()
    };
    assert_eq!(ephemeral(&answer), serde_json::json!([bob]));
    waits.since = Some(next(&answer).parse().unwrap());
    let stops = server.live.set_typing(&bob, &room.room_id, None);
    let (answer, _) = tokio::join!(server.ask(&waits), stops);
    assert_eq!(ephemeral(&answer), serde_json::json!([]));
}

#[tokio::test]
async fn typing_ends_by_itself() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&alice()).await;
    let short = Some(Duration::from_millis(1));
    server
        .live
        .set_typing(&alice(), &room.room_id, short)
        .await
        .unwrap();
    let mut waits = request(&alice(), Some(&token));
    waits.timeout = LONG;
    // Seen or not before it ended: in the end nobody types.
    loop {
        let answer = server.ask(&waits).await;
        let section = &answer["rooms"]["join"][room.room_id.as_str()];
        if section["ephemeral"]["events"][0]["content"]["user_ids"] == serde_json::json!([]) {
            break;
        }
        waits.since = Some(next(&answer).parse().unwrap());
    }
}

#[tokio::test]
async fn users_beyond_the_limit_are_not_shown_as_typing() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let users: Vec<OwnedUserId> = (0..=MAX_TYPING_USERS)
        .map(|number| {
            format!("@user{number}:test.localhost")
                .try_into()
                .expect("a user id")
        })
        .collect();
    let set_typing = async |user_id: &UserId, time: Option<Duration>| {
        let set = server.live.set_typing(user_id, &room.room_id, time).await;
        assert!(set.expect("the database"));
    };
    let typing_users = async || {
        let answer = server.sync(&alice(), None).await;
        let section = &answer["rooms"]["join"][room.room_id.as_str()];
        section["ephemeral"]["events"][0]["content"]["user_ids"].clone()
    };
    for user_id in &users {
        room.member(&server.db, user_id, user_id, "join").await;
        set_typing(user_id, Some(LONG)).await;
    }
    let (late, first) = users.split_last().expect("users");
    assert_eq!(typing_users().await, json!(first));
    set_typing(&first[0], None).await;
    set_typing(late, Some(LONG)).await;
    let shown: Vec<&OwnedUserId> = users.iter().skip(1).collect();
    assert_eq!(typing_users().await, json!(shown));
}

#[tokio::test]
async fn other_servers_are_told_of_typing_that_ended_once() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let (sender, mut notices) = mpsc::channel(10);
    server.live.notify_typing(sender);
    for time in [None, Some(LONG), None, None] {
        let set = server.live.set_typing(&alice(), &room.room_id, time).await;
        assert!(set.expect("the database"));
    }
    let mut told = Vec::new();
    while let Ok(notice) = notices.try_recv() {
        told.push(notice.typing);
    }
    assert_eq!(told, [Typing::Started, Typing::Stopped]);
}

#[tokio::test]
async fn only_joined_users_can_be_typing() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let typed = server
        .live
        .set_typing(&bob(), &room.room_id, Some(LONG))
        .await;
    assert!(!typed.unwrap());
}

#[tokio::test]
async fn waiting_client_is_answered_when_invited() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&bob()).await;
    let mut waits = request(&bob(), Some(&token));
    waits.timeout = LONG;
    let (alice, bob) = (alice(), bob());
    let invites = room.member(&server.db, &alice, &bob, "invite");
    let (answer, _) = tokio::join!(server.ask(&waits), invites);
    assert_eq!(answer["rooms"]["invite"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn waiting_client_is_answered_when_its_user_has_signed_a_key() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &bob(), &bob(), "join").await;
    let token = server.token(&bob()).await;
    let mut waits = request(&bob(), Some(&token));
    waits.timeout = LONG;
    let signed = UserChange::UserSigned {
        signer: bob(),
        user_id: alice(),
    };
    let signs = commit_changes(&server.db, [signed]);
    let (answer, _) = tokio::join!(server.ask(&waits), signs);
    assert_eq!(answer["device_lists"]["changed"], json!([alice()]));
}

#[tokio::test]
async fn changes_for_others_do_not_end_the_wait() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let token = server.token(&bob()).await;
    let mut waits = request(&bob(), Some(&token));
    waits.timeout = LONG;
    let bob = bob();
    let (answer, ()) = tokio::join!(server.ask(&waits), async {
        room.message(&server.db, &alice(), "not for you").await;
        let data = AccountData {
            user_id: bob.clone(),
            room_nid: None,
            event_type: "org.x".to_owned(),
            content: "{}".to_owned(),
        };
        commit_changes(&server.db, [UserChange::AccountData(data)]).await;
    });
    assert!(answer.get("rooms").is_none());
    assert!(answer.get("account_data").is_some());
}

#[tokio::test]
async fn waiting_ends_when_the_server_stops() {
    let server = server().await;
    let token = server.token(&alice()).await;
    let mut waits = request(&alice(), Some(&token));
    waits.timeout = LONG;
    server.stopping.cancel();
    let answer = server.ask(&waits).await;
    assert!(answer.get("rooms").is_none());
}
