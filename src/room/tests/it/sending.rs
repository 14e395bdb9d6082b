//! Sending, and sending the same again.

use room::{Error, NewMessage, Reader, Sender};
use ruma::{owned_device_id, room_id};
use serde_json::json;
use tokio::task::JoinSet;
use types::ErrorKind;

use crate::support::{
    NOW, Server, alice, backwards, bob, carol, error_kind, json as parse, message, raw, sender,
    transaction,
};

#[tokio::test]
async fn the_same_transaction_gets_the_same_event() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let first = server
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent");
    let position = server.position().await;
    let second = server
        .send_text(&room_id, &alice(), "hello")
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
    let first = server
        .send_text(&room_id, &alice(), "1")
        .await
        .expect("sent");
    let of_other_user = server.send_text(&room_id, &bob(), "1").await.expect("sent");
    let in_other_room = server
        .send_text(&other_room, &alice(), "1")
        .await
        .expect("sent");
    let at_laptop = Sender {
        device_id: Some(owned_device_id!("LAPTOP")),
        ..transaction(&alice(), "1")
    };
    let of_other_device = server
        .send(&room_id, &at_laptop, message("1"))
        .await
        .expect("sent");
    let without_device = Sender {
        device_id: None,
        ..transaction(&alice(), "1")
    };
    let without_device = server
        .send(&room_id, &without_device, message("1"))
        .await
        .expect("sent");
    let of_other_type = NewMessage {
        event_type: "m.sticker".into(),
        ..message("1")
    };
    let of_other_type = server
        .send(&room_id, &transaction(&alice(), "1"), of_other_type)
        .await
        .expect("sent");
    let mut all = vec![
        first,
        of_other_user,
        in_other_room,
        of_other_device,
        without_device,
        of_other_type,
    ];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
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
                .send(&room_id, &transaction(&alice(), "1"), message("hello"))
                .await
                .expect("sent")
        });
    }
    let mut sent = sends.join_all().await;
    sent.dedup();
    assert_eq!(sent.len(), 1);
    assert_eq!(server.readable_texts(&room_id, &alice()).await, ["hello"]);
}

#[tokio::test]
async fn a_transaction_is_known_after_a_restart() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let first = server
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent");
    let after = server.another().await;
    let again = after
        .send_text(&room_id, &alice(), "hello")
        .await
        .expect("sent before");
    assert_eq!(first, again);
    let next = after
        .send_text(&room_id, &alice(), "next")
        .await
        .expect("sent");
    assert_ne!(first, next);
    assert_eq!(
        after.readable_texts(&room_id, &alice()).await,
        ["hello", "next"]
    );
}

#[tokio::test]
async fn a_transaction_without_a_device_is_known_after_a_restart_until_it_expires() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let alice = Sender::user(&alice()).with_transaction("1".into());
    let first = server.send(&room_id, &alice, message("hello")).await;
    let after = server.another().await;
    let again = after.send(&room_id, &alice, message("hello")).await;
    assert_eq!(first.expect("sent"), again.expect("sent before"));
    let reader = Reader {
        user_id: &alice.user_id,
        device_id: None,
    };
    let page = after.messages(&room_id, reader, &backwards(1)).await;
    let sent = &parse(&page.expect("messages"))["chunk"][0];
    assert_eq!(sent["unsigned"]["transaction_id"], "1");

    let tomorrow = NOW as i64 + 24 * 60 * 60 * 1000;
    let mut db = after.test.database.acquire().await.expect("a connection");
    for (now_ms, expired) in [(tomorrow, 0), (tomorrow + 1, 1)] {
        let deleted = storage::maintenance::delete_expired(&mut db, now_ms).await;
        assert_eq!(deleted.expect("deleted"), expired);
    }
}

#[tokio::test]
async fn messages_without_a_transaction_are_sent_each_time() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    for _ in 0..2 {
        let sender = sender(&alice());
        let sent = server.send(&room_id, &sender, message("hello")).await;
        sent.expect("sent");
    }
    assert_eq!(
        server.readable_texts(&room_id, &alice()).await,
        ["hello", "hello"]
    );
}

#[tokio::test]
async fn a_failed_transaction_can_be_tried_again() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    assert_eq!(
        error_kind(server.send_text(&room_id, &bob(), "hello").await),
        ErrorKind::Forbidden
    );
    server.join_room(&room_id, &bob()).await.expect("joined");
    server
        .send_text(&room_id, &bob(), "hello")
        .await
        .expect("sent");
}

#[tokio::test]
async fn events_beyond_the_limits_are_refused_and_leave_no_trace() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let position = server.position().await;
    let large = "x".repeat(65_537);
    let phone = sender(&alice());
    let sent = server.send(&room_id, &phone, message(&large)).await;
    assert_eq!(error_kind(sent), ErrorKind::TooLarge);
    let long_id = phone.clone().with_transaction("x".repeat(256).into());
    let sent = server.send(&room_id, &long_id, message("long id")).await;
    assert_eq!(error_kind(sent), ErrorKind::InvalidParam);
    for content in [
        json!({ "n": 1.5 }),
        json!({ "n": 9_007_199_254_740_992_i64 }),
    ] {
        let message = NewMessage {
            content: raw(&content),
            ..message("floats")
        };
        let sent = server.send(&room_id, &phone, message).await;
        assert_eq!(error_kind(sent), ErrorKind::BadJson);
    }
    let create = NewMessage {
        event_type: "m.room.create".into(),
        ..message("create")
    };
    let sent = server.send(&room_id, &phone, create).await;
    assert_eq!(error_kind(sent), ErrorKind::Forbidden);
    assert_eq!(server.position().await, position);
    server
        .send_text(&room_id, &alice(), "fine")
        .await
        .expect("the room goes on");
}

#[tokio::test]
async fn strangers_do_not_learn_which_rooms_exist() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let unknown = room_id!("!nowhere:test.localhost");
    for room_id in [&*room_id, unknown] {
        let sent = server.send_text(room_id, &carol(), "hello").await;
        assert!(matches!(sent, Err(Error::NotInRoom)));
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
            ..message("odd")
        };
        let sent = server.send(&room_id, &sender(&alice()), message).await;
        sent.expect("sent");
    }
}
