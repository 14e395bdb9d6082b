//! What is withdrawn is gone: from what is read, from the state, from the disk.

use room::Error;
use ruma::{EventId, OwnedEventId, RoomId, UserId};
use serde_json::json;
use types::ErrorKind;

use crate::support::{Server, alice, bob, carol, error_kind, of_version, sender, transaction};

async fn redact(
    server: &Server,
    room_id: &RoomId,
    sender: &UserId,
    target: &EventId,
) -> Result<OwnedEventId, Error> {
    let sender = transaction(sender, &format!("redact {target}"));
    server
        .redact(room_id, &sender, target, Some("regret"))
        .await
}

#[tokio::test]
async fn redaction_erases_the_stored_content_and_is_published() {
    let server = Server::start().await;
    for version in ["1", "3", "11", "12"] {
        let room_id = server
            .create(
                &sender(&alice()),
                room::Profile::default(),
                of_version(version),
            )
            .await
            .expect("made");
        let message_id = server
            .send_text(&room_id, &alice(), "secret")
            .await
            .expect("sent");
        let redaction = redact(&server, &room_id, &alice(), &message_id)
            .await
            .expect("redacted");
        for event in server.stored(&room_id).await {
            assert!(!event.pdu.json().contains("secret"), "{}", event.pdu.json());
        }
        let event = server
            .read(&room_id, &alice(), &message_id)
            .await
            .expect("seen");
        assert_eq!(event["content"], json!({}));
        let because = &event["unsigned"]["redacted_because"];
        assert_eq!(because["event_id"], redaction.as_str());
        assert_eq!(because["content"]["reason"], "regret");
        // Returned in both places, whichever the room version knows.
        assert_eq!(because["redacts"], message_id.as_str());
        assert_eq!(because["content"]["redacts"], message_id.as_str());
    }
}

#[tokio::test]
async fn the_same_redaction_is_done_once() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let message_id = server
        .send_text(&room_id, &alice(), "secret")
        .await
        .expect("sent");
    let first = redact(&server, &room_id, &alice(), &message_id)
        .await
        .expect("redacted");
    let second = redact(&server, &room_id, &alice(), &message_id)
        .await
        .expect("redacted");
    assert_eq!(first, second);
    let redactions = server.stored(&room_id).await.into_iter();
    let redactions = redactions.filter(|event| event.pdu.event_type() == "m.room.redaction");
    assert_eq!(redactions.count(), 1);
}

#[tokio::test]
async fn others_messages_are_redacted_by_moderators_only() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob(), &carol()]).await;
    let message_id = server
        .send_text(&room_id, &bob(), "mine")
        .await
        .expect("sent");
    let position = server.position().await;
    let denied = redact(&server, &room_id, &carol(), &message_id).await;
    assert_eq!(error_kind(denied), ErrorKind::Forbidden);
    assert_eq!(server.position().await, position);
    assert_eq!(server.readable_texts(&room_id, &alice()).await, ["mine"]);
    redact(&server, &room_id, &alice(), &message_id)
        .await
        .expect("redacted");
    assert!(server.readable_texts(&room_id, &bob()).await.is_empty());
}

#[tokio::test]
async fn redaction_applies_to_current_state() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let named = server
        .set(
            &room_id,
            &alice(),
            "m.room.name",
            json!({ "name": "Plaza" }),
        )
        .await
        .expect("set");
    redact(&server, &room_id, &alice(), &named)
        .await
        .expect("redacted");
    let name = server.content(&room_id, &alice(), "m.room.name", "").await;
    assert_eq!(name.expect("still set"), json!({}));
    let after = server.another().await;
    let name = after.content(&room_id, &alice(), "m.room.name", "").await;
    assert_eq!(name.expect("still set"), json!({}));
    server
        .set(
            &room_id,
            &alice(),
            "m.room.name",
            json!({ "name": "Plaza" }),
        )
        .await
        .expect("set again");
    let name = server.content(&room_id, &alice(), "m.room.name", "").await;
    assert_eq!(name.expect("set"), json!({ "name": "Plaza" }));
}

#[tokio::test]
async fn redaction_keeps_the_membership() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let joined = server.stored(&room_id).await.pop().expect("an event");
    redact(&server, &room_id, &alice(), joined.pdu.event_id())
        .await
        .expect("redacted");
    for server in [&server, &server.another().await] {
        server
            .send_text(&room_id, &bob(), "still here")
            .await
            .expect("sent");
    }
}

#[tokio::test]
async fn events_of_other_rooms_are_not_redacted() {
    let server = Server::start().await;
    let here = server.room(&[&alice()]).await;
    let there = server.room(&[&alice()]).await;
    let message_id = server
        .send_text(&there, &alice(), "there")
        .await
        .expect("sent");
    let result = redact(&server, &here, &alice(), &message_id).await;
    assert!(matches!(result, Err(Error::UnknownEvent)));
    assert_eq!(server.readable_texts(&there, &alice()).await, ["there"]);
}

#[tokio::test]
async fn what_is_not_known_is_redacted_by_those_only_who_may_redact_all() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let unknown = EventId::parse("$unknown").expect("an id");
    let result = redact(&server, &room_id, &bob(), &unknown).await;
    assert!(matches!(result, Err(Error::UnknownEvent)));
    let redaction = redact(&server, &room_id, &alice(), &unknown).await;
    let redaction = redaction.expect("redacted");
    let redaction = server.read(&room_id, &alice(), &redaction).await;
    let redaction = redaction.expect("the redaction");
    assert_eq!(redaction["content"]["redacts"], unknown.as_str());
}

#[tokio::test]
async fn non_members_cannot_redact() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let message_id = server
        .send_text(&room_id, &bob(), "mine")
        .await
        .expect("sent");
    server
        .leave(&room_id, &sender(&bob()), None)
        .await
        .expect("left");
    for user in [bob(), carol()] {
        let result = redact(&server, &room_id, &user, &message_id).await;
        assert_eq!(error_kind(result), ErrorKind::Forbidden);
    }
    assert_eq!(server.readable_texts(&room_id, &alice()).await, ["mine"]);
}

#[tokio::test]
async fn a_redaction_that_is_sent_as_a_message_takes_effect() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let message_id = server
        .send_text(&room_id, &alice(), "secret")
        .await
        .expect("sent");
    let redaction = || room::NewMessage {
        event_type: "m.room.redaction".into(),
        content: crate::support::raw(&json!({ "redacts": message_id, "reason": "regret" })),
    };
    let denied = server
        .send(&room_id, &transaction(&bob(), "1"), redaction())
        .await;
    assert_eq!(error_kind(denied), ErrorKind::Forbidden);
    server
        .send(&room_id, &transaction(&alice(), "2"), redaction())
        .await
        .expect("redacted");
    assert!(server.readable_texts(&room_id, &alice()).await.is_empty());
}

#[tokio::test]
async fn a_transaction_of_a_redaction_is_of_one_endpoint_and_target() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let mut messages = Vec::new();
    for text in ["one", "two", "three"] {
        messages.push(
            server
                .send_text(&room_id, &alice(), text)
                .await
                .expect("sent"),
        );
    }
    let by_endpoint = async |server: &Server, target: &EventId| {
        let sender = transaction(&alice(), "the same");
        let redacted = server.redact(&room_id, &sender, target, None).await;
        redacted.expect("redacted")
    };
    let by_message = async |server: &Server, target: &EventId| {
        let message = room::NewMessage {
            event_type: "m.room.redaction".into(),
            content: crate::support::raw(&json!({ "redacts": target })),
        };
        let sender = transaction(&alice(), "the same");
        let sent = server.send(&room_id, &sender, message).await;
        sent.expect("redacted")
    };
    let made = [
        by_endpoint(&server, &messages[0]).await,
        by_endpoint(&server, &messages[1]).await,
        by_message(&server, &messages[2]).await,
    ];
    assert!(server.readable_texts(&room_id, &alice()).await.is_empty());
    for server in [&server, &server.another().await] {
        let position = server.position().await;
        let again = [
            by_endpoint(server, &messages[0]).await,
            by_endpoint(server, &messages[1]).await,
            by_message(server, &messages[2]).await,
        ];
        assert_eq!(again, made);
        assert_eq!(server.position().await, position);
        for redaction in &made {
            let event = server.read(&room_id, &alice(), redaction).await;
            let event = event.expect("seen");
            assert_eq!(event["unsigned"]["transaction_id"], "the same");
        }
    }
}

#[tokio::test]
async fn a_redaction_names_its_target() {
    let server = Server::start().await;
    for version in ["10", "12"] {
        let room_id = server
            .create(
                &sender(&alice()),
                room::Profile::default(),
                of_version(version),
            )
            .await
            .expect("made");
        let position = server.position().await;
        for content in [
            json!({}),
            json!({ "redacts": 5 }),
            json!({ "redacts": "nothing" }),
        ] {
            let message = room::NewMessage {
                event_type: "m.room.redaction".into(),
                content: crate::support::raw(&content),
            };
            let sender = transaction(&alice(), "1");
            let sent = server.send(&room_id, &sender, message).await;
            assert_eq!(error_kind(sent), ErrorKind::BadJson);
            let set = server
                .set(&room_id, &alice(), "m.room.redaction", content)
                .await;
            assert_eq!(error_kind(set), ErrorKind::BadJson);
        }
        assert_eq!(server.position().await, position);
    }
    let request = room::CreateRoom {
        initial_state: vec![(
            "m.room.redaction".into(),
            String::new(),
            crate::support::raw(&json!({})),
        )],
        ..crate::support::public()
    };
    let made = server
        .create(&sender(&alice()), room::Profile::default(), request)
        .await;
    assert_eq!(error_kind(made), ErrorKind::BadJson);
}

#[tokio::test]
async fn strangers_do_not_learn_which_events_exist() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let message_id = server
        .send_text(&room_id, &alice(), "mine")
        .await
        .expect("sent");
    let unknown = ruma::event_id!("$unknown");
    for event_id in [&*message_id, unknown] {
        let result = redact(&server, &room_id, &bob(), event_id).await;
        assert!(matches!(result, Err(Error::NotInRoom)));
    }
}
