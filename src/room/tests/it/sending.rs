//! Sending, and sending the same again.

use room::{Error, NewMessage};
use ruma::{device_id, room_id};
use serde_json::json;
use tokio::task::JoinSet;
use types::ErrorKind;

use crate::support::{Server, alice, bob, carol, error_kind, message, phone, raw};

#[tokio::test]
async fn the_same_transaction_gets_the_same_event() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let first = server.say(&room_id, &alice(), "hello").await.expect("sent");
    let position = server.position().await;
    let second = server
        .say(&room_id, &alice(), "hello")
        .await
        .expect("sent before");
    assert_eq!(first, second);
    assert_eq!(server.position().await, position);
}

#[tokio::test]
async fn a_transaction_is_of_one_device_room_and_type() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let other_room = server.room(&[&alice()]).await;
    let first = server.say(&room_id, &alice(), "1").await.expect("sent");
    let of_other_user = server.say(&room_id, &bob(), "1").await.expect("sent");
    let in_other_room = server.say(&other_room, &alice(), "1").await.expect("sent");
    let of_other_device = server
        .send_once(&room_id, &alice(), device_id!("LAPTOP"), message("1", "1"))
        .await
        .expect("sent");
    let of_other_type = NewMessage {
        event_type: "m.sticker".into(),
        ..message("1", "1")
    };
    let of_other_type = server
        .send_once(&room_id, &alice(), phone(), of_other_type)
        .await
        .expect("sent");
    let mut all = vec![
        first,
        of_other_user,
        in_other_room,
        of_other_device,
        of_other_type,
    ];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_sent_many_times_at_once_is_one_event() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let mut sends = JoinSet::new();
    for _ in 0..16 {
        let (rooms, room_id) = (server.rooms.clone(), room_id.clone());
        sends.spawn(async move {
            rooms
                .send_once(&room_id, &alice(), phone(), message("1", "hello"))
                .await
                .expect("sent")
        });
    }
    let mut sent = sends.join_all().await;
    sent.dedup();
    assert_eq!(sent.len(), 1);
    assert_eq!(server.heard(&room_id, &alice()).await, ["hello"]);
}

#[tokio::test]
async fn a_transaction_is_known_after_a_restart() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let first = server.say(&room_id, &alice(), "hello").await.expect("sent");
    let after = server.another().await;
    let again = after
        .say(&room_id, &alice(), "hello")
        .await
        .expect("sent before");
    assert_eq!(first, again);
    let next = after.say(&room_id, &alice(), "next").await.expect("sent");
    assert_ne!(first, next);
    assert_eq!(after.heard(&room_id, &alice()).await, ["hello", "next"]);
}

#[tokio::test]
async fn a_failed_transaction_can_be_tried_again() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    assert_eq!(
        error_kind(server.say(&room_id, &bob(), "hello").await),
        ErrorKind::Forbidden
    );
    server.enter(&room_id, &bob()).await.expect("joined");
    server.say(&room_id, &bob(), "hello").await.expect("sent");
}

#[tokio::test]
async fn events_beyond_the_limits_are_refused_and_leave_no_trace() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let position = server.position().await;
    let large = "x".repeat(65_537);
    let large = message("large", &large);
    let sent = server.send_once(&room_id, &alice(), phone(), large).await;
    assert_eq!(error_kind(sent), ErrorKind::TooLarge);
    let named = message(&"x".repeat(256), "long transaction id");
    let sent = server.send_once(&room_id, &alice(), phone(), named).await;
    assert_eq!(error_kind(sent), ErrorKind::InvalidParam);
    for content in [
        json!({ "n": 1.5 }),
        json!({ "n": 9_007_199_254_740_992_i64 }),
    ] {
        let message = NewMessage {
            content: raw(&content),
            ..message("floats", "")
        };
        let sent = server.send_once(&room_id, &alice(), phone(), message).await;
        assert_eq!(error_kind(sent), ErrorKind::BadJson);
    }
    let create = NewMessage {
        event_type: "m.room.create".into(),
        ..message("create", "")
    };
    let sent = server.send_once(&room_id, &alice(), phone(), create).await;
    assert_eq!(error_kind(sent), ErrorKind::Forbidden);
    assert_eq!(server.position().await, position);
    server
        .say(&room_id, &alice(), "fine")
        .await
        .expect("the room goes on");
}

#[tokio::test]
async fn strangers_do_not_learn_which_rooms_exist() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let unknown = room_id!("!nowhere:test.localhost");
    for room_id in [&*room_id, unknown] {
        let said = server.say(room_id, &carol(), "hello").await;
        assert!(matches!(said, Err(Error::NotInRoom)));
        for (event_type, content) in [
            ("m.room.name", json!({})),
            (
                "m.room.canonical_alias",
                json!({ "alias": "#a:test.localhost" }),
            ),
            (
                "m.room.power_levels",
                json!({ "users": { alice().as_str(): 100 } }),
            ),
        ] {
            let state = server.set(room_id, &carol(), event_type, content).await;
            assert!(matches!(state, Err(Error::NotInRoom)), "{event_type}");
        }
    }
}

#[tokio::test]
async fn setting_unchanged_state_returns_the_same_event() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let name = || json!({ "name": "Plaza", "extra": { "a": 1, "b": 2 } });
    let first = server
        .set(&room_id, &alice(), "m.room.name", name())
        .await
        .expect("set");
    let position = server.position().await;
    let second = server
        .set(&room_id, &alice(), "m.room.name", name())
        .await
        .expect("set before");
    assert_eq!(first, second);
    assert_eq!(server.position().await, position);
    let denied = server.set(&room_id, &bob(), "m.room.name", name()).await;
    assert_eq!(
        error_kind(denied),
        ErrorKind::Forbidden,
        "it is not his to set"
    );
    let keyed = server
        .set_keyed(&room_id, &alice(), "m.room.name", "other", name())
        .await
        .expect("set");
    assert_ne!(first, keyed);
}

#[tokio::test]
async fn state_named_after_a_user_is_set_by_that_user_only() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let result = server
        .set_keyed(
            &room_id,
            &alice(),
            "org.example.note",
            bob().as_str(),
            json!({}),
        )
        .await;
    assert_eq!(error_kind(result), ErrorKind::Forbidden);
}

#[tokio::test]
async fn creators_have_no_number_in_version_12() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let levels = json!({ "users": { alice().as_str(): 100 } });
    let result = server
        .set(&room_id, &alice(), "m.room.power_levels", levels)
        .await;
    assert!(matches!(result, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_relation_to_what_no_id_can_hold_is_none() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    for rel_type in ["m.thread", "m.\0"] {
        let relation = json!({ "rel_type": rel_type, "event_id": "$a\0b" });
        let message = NewMessage {
            content: raw(&json!({ "body": "odd", "m.relates_to": relation })),
            ..message(&rel_type.len().to_string(), "odd")
        };
        let sent = server.send_once(&room_id, &alice(), phone(), message).await;
        sent.expect("sent");
    }
}
