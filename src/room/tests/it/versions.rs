//! Rooms of versions 1 and 2, whose events carry their ids and name others with hashes.

use std::collections::HashMap;

use event::RoomVersion;
use ruma::{OwnedEventId, RoomId, RoomVersionId, UserId};
use serde_json::json;
use types::ErrorKind;

use crate::support::{Server, alice, bob, error_kind, of_version, sender, transaction};

/// Checks that the events of a room carry their ids, and name others by the hashes of these.
async fn check_events(server: &Server, room_id: &RoomId, version: &RoomVersionId) {
    let version = RoomVersion::of(version).expect("supported");
    let events = server.stored(room_id).await;
    let hashes: HashMap<OwnedEventId, String> = events
        .iter()
        .map(|event| {
            let hash = event.pdu.reference_hash(&version).expect("hashed");
            (event.pdu.event_id().clone(), hash)
        })
        .collect();
    for event in &events {
        let json = crate::support::json(event.pdu.json());
        assert_eq!(json["event_id"], event.pdu.event_id().as_str());
        assert!(event.pdu.event_id().server_name().is_some());
        let named = ["prev_events", "auth_events"].map(|field| json[field].as_array().cloned());
        for reference in named.into_iter().flatten().flatten() {
            let id: OwnedEventId = reference[0]
                .as_str()
                .expect("an id")
                .try_into()
                .expect("an id");
            assert_eq!(reference[1], json!({ "sha256": hashes[&id] }));
        }
        assert_eq!(
            event.pdu.prev_events().is_empty(),
            event.pdu.event_type() == "m.room.create"
        );
        let parsed = event::Pdu::parse(event.pdu.json(), &version).expect("well formed");
        assert_eq!(parsed.event_id(), event.pdu.event_id());
    }
}

#[tokio::test]
async fn rooms_of_versions_1_and_2_are_used_like_others() {
    let here = Server::start().await;
    let there = here.another().await;
    for version in [RoomVersionId::V1, RoomVersionId::V2] {
        let request = of_version(version.as_str());
        let room_id = here
            .create(&sender(&alice()), room::Profile::default(), request)
            .await
            .expect("made");
        let create = here.content(&room_id, &alice(), "m.room.create", "").await;
        let create = create.expect("seen");
        assert_eq!(create["creator"], alice().as_str());
        // Both heads are loaded in turn, so that the hashes of parents come from the database too.
        for (number, server) in [&here, &there, &there, &here].into_iter().enumerate() {
            let message_id = server
                .send_text(&room_id, &alice(), &format!("{number}"))
                .await;
            let message_id = message_id.expect("sent");
            let event = server
                .read(&room_id, &alice(), &message_id)
                .await
                .expect("seen");
            assert_eq!(event["event_id"], message_id.as_str());
        }
        let levels = json!({ "users": { alice().as_str(): 100 }, "events": { "m.x": 50 } });
        here.set(&room_id, &alice(), "m.room.power_levels", levels)
            .await
            .expect("set");
        here.join_room(&room_id, &bob()).await.expect("joined");
        let refused = here.set(&room_id, &bob(), "m.x", json!({})).await;
        assert_eq!(error_kind(refused), ErrorKind::Forbidden);
        check_events(&here, &room_id, &version).await;
    }
}

#[tokio::test]
async fn redactions_in_versions_1_and_2_need_the_level_or_the_sender() {
    let server = Server::start().await;
    for version in [RoomVersionId::V1, RoomVersionId::V2] {
        let request = of_version(version.as_str());
        let room_id = server
            .create(&sender(&alice()), room::Profile::default(), request)
            .await
            .expect("made");
        server.join_room(&room_id, &bob()).await.expect("joined");
        let first = server
            .send_text(&room_id, &alice(), "first")
            .await
            .expect("sent");
        let second = server
            .send_text(&room_id, &bob(), "second")
            .await
            .expect("sent");
        let (moderator, member) = (alice(), bob());
        let redact = async |user: &UserId, target: &OwnedEventId| {
            let sender = transaction(user, &format!("redact {target}"));
            server.redact(&room_id, &sender, target, None).await
        };
        let refused = redact(&member, &first).await;
        assert_eq!(error_kind(refused), ErrorKind::Forbidden);
        redact(&member, &second)
            .await
            .expect("redacted by its sender");
        redact(&moderator, &first).await.expect("redacted by level");
        for target in [first, second] {
            let event = server
                .read(&room_id, &alice(), &target)
                .await
                .expect("seen");
            assert_eq!(event["content"], json!({}));
            let because = &event["unsigned"]["redacted_because"];
            assert_eq!(because["redacts"], target.as_str());
        }
        check_events(&server, &room_id, &version).await;
    }
}
