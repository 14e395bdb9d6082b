//! A room is made as asked, or not at all.

use room::{CreateRoom, Error, Preset, Profile};
use ruma::{OwnedRoomId, RoomVersionId, owned_room_alias_id};
use serde_json::{Map, Value, json};
use types::ErrorKind;

use crate::support::{
    Server, alice, bob, carol, content, create, error_kind, of_version, public, raw, sender,
};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => panic!("not an object"),
    }
}

async fn made(server: &Server, request: CreateRoom) -> OwnedRoomId {
    server
        .create(&sender(&alice()), Profile::default(), request)
        .await
        .expect("the room is made")
}

/// The content of an unkeyed state event.
async fn state(server: &Server, room_id: &OwnedRoomId, event_type: &str) -> Value {
    server
        .content(room_id, &alice(), event_type, "")
        .await
        .expect("the state")
}

#[tokio::test]
async fn each_preset_sets_who_joins_and_what_guests_may() {
    let server = Server::start().await;
    for (preset, join_rule, guests) in [
        (Preset::PrivateChat, "invite", Some("can_join")),
        (Preset::TrustedPrivateChat, "invite", Some("can_join")),
        // Without the event they are forbidden.
        (Preset::PublicChat, "public", None),
    ] {
        let room_id = made(&server, create(preset)).await;
        let rules = state(&server, &room_id, "m.room.join_rules").await;
        assert_eq!(rules["join_rule"], join_rule);
        let history = state(&server, &room_id, "m.room.history_visibility").await;
        assert_eq!(history["history_visibility"], "shared");
        let access = server
            .content(&room_id, &alice(), "m.room.guest_access", "")
            .await;
        let access = access.ok().map(|access| access["guest_access"].clone());
        assert_eq!(access, guests.map(Value::from));
    }
}

#[tokio::test]
async fn every_room_version_can_be_created_joined_and_talked_in() {
    let server = Server::start().await;
    for version in 3..=12 {
        let version = version.to_string();
        let room_id = made(&server, of_version(&version)).await;
        server.join_room(&room_id, &bob()).await.expect("joined");
        server
            .send_text(&room_id, &bob(), &version)
            .await
            .expect("sent");
        assert_eq!(server.readable_texts(&room_id, &alice()).await, [&*version]);
        let create = state(&server, &room_id, "m.room.create").await;
        assert_eq!(create["room_version"], version.as_str());
    }
}

#[tokio::test]
async fn a_version_12_room_is_named_by_its_create_event_and_lists_no_creator() {
    let server = Server::start().await;
    let room_id = made(&server, of_version("12")).await;
    let create = &server.stored(&room_id).await[0];
    assert_eq!(
        room_id.as_str().strip_prefix('!'),
        create.pdu.event_id().as_str().strip_prefix('$')
    );
    assert!(!create.pdu.json().contains("room_id"));
    let levels = state(&server, &room_id, "m.room.power_levels").await;
    assert_eq!(levels["users"], json!({}));
    assert_eq!(levels["events"]["m.room.tombstone"], 150);

    let room_id = made(&server, of_version("11")).await;
    assert!(room_id.as_str().ends_with(":test.localhost"));
    let levels = state(&server, &room_id, "m.room.power_levels").await;
    assert_eq!(levels["users"], json!({ alice().as_str(): 100 }));
}

#[tokio::test]
async fn the_events_of_a_new_room_come_in_the_order_of_the_specification() {
    let server = Server::start().await;
    let request = CreateRoom {
        alias: Some(owned_room_alias_id!("#plaza:test.localhost")),
        name: Some("Plaza".to_owned()),
        topic: Some("Talk".to_owned()),
        initial_state: vec![("m.room.avatar".into(), String::new(), raw(&json!({})))],
        invite: vec![(bob(), Profile::default())],
        ..public()
    };
    let room_id = made(&server, request).await;
    let stored = server.stored(&room_id).await;
    let event_types: Vec<_> = stored.iter().map(|event| event.pdu.event_type()).collect();
    assert_eq!(
        event_types,
        [
            "m.room.create",
            "m.room.member",
            "m.room.power_levels",
            "m.room.canonical_alias",
            "m.room.join_rules",
            "m.room.history_visibility",
            "m.room.avatar",
            "m.room.name",
            "m.room.topic",
            "m.room.member",
        ]
    );
    let depths: Vec<_> = stored.iter().map(|event| event.pdu.depth()).collect();
    assert_eq!(depths, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn invited_users_of_a_trusted_private_chat_have_the_creators_power() {
    let server = Server::start().await;
    let request = |version: &str| CreateRoom {
        invite: vec![(bob(), Profile::default())],
        version: Some(RoomVersionId::try_from(version).expect("a version")),
        ..create(Preset::TrustedPrivateChat)
    };
    let room_id = made(&server, request("11")).await;
    let levels = state(&server, &room_id, "m.room.power_levels").await;
    assert_eq!(levels["users"][bob().as_str()], 100);

    let room_id = made(&server, request("12")).await;
    let creation = state(&server, &room_id, "m.room.create").await;
    assert_eq!(creation["additional_creators"], json!([bob()]));
    server.join_room(&room_id, &bob()).await.expect("joined");
    server
        .set(&room_id, &bob(), "m.room.tombstone", json!({}))
        .await
        .expect("creators stand above every level");
}

#[tokio::test]
async fn initial_state_beats_the_preset() {
    let server = Server::start().await;
    let rules = raw(&json!({ "join_rule": "knock" }));
    let request = CreateRoom {
        initial_state: vec![("m.room.join_rules".into(), String::new(), rules)],
        ..public()
    };
    let room_id = made(&server, request).await;
    let rules = state(&server, &room_id, "m.room.join_rules").await;
    assert_eq!(rules["join_rule"], "knock");
    let stored = server.stored(&room_id).await;
    let set = stored
        .iter()
        .filter(|event| event.pdu.event_type() == "m.room.join_rules");
    assert_eq!(set.count(), 1, "the preset's rule was never there");
}

#[tokio::test]
async fn power_levels_are_overridden_key_by_key() {
    let server = Server::start().await;
    let request = CreateRoom {
        power_level_content_override: object(json!({ "invite": 50, "events": {} })),
        ..public()
    };
    let room_id = made(&server, request).await;
    let levels = state(&server, &room_id, "m.room.power_levels").await;
    assert_eq!(levels["invite"], 50);
    assert_eq!(levels["events"], json!({}));
    assert_eq!(levels["kick"], 50, "what is not overridden stays");
}

#[tokio::test]
async fn creation_content_and_profile_are_kept() {
    let server = Server::start().await;
    let request = CreateRoom {
        creation_content: object(json!({
            "type": "m.space", "m.federate": false, "room_version": "1", "creator": "@eve:other",
        })),
        ..public()
    };
    let profile = Profile {
        displayname: Some("Alice".to_owned()),
        avatar_url: None,
    };
    let room_id = server
        .create(&sender(&alice()), profile, request)
        .await
        .expect("made");
    let creation = state(&server, &room_id, "m.room.create").await;
    assert_eq!(
        creation,
        json!({ "type": "m.space", "m.federate": false, "room_version": "12" })
    );
    let member = &server.stored(&room_id).await[1];
    assert_eq!(
        content(&member.pdu),
        json!({ "membership": "join", "displayname": "Alice" })
    );
}

#[tokio::test]
async fn room_creation_is_atomic() {
    let server = Server::start().await;
    let overrides = |content: Value| CreateRoom {
        power_level_content_override: object(content),
        ..public()
    };
    let with_state = |event_type: &str, state_key: String, content: Value| CreateRoom {
        initial_state: vec![(event_type.into(), state_key, raw(&content))],
        ..public()
    };
    let joined = json!({ "membership": "join" });
    let attempts = [
        (of_version("13"), ErrorKind::UnsupportedRoomVersion),
        (
            of_version("org.example.next"),
            ErrorKind::UnsupportedRoomVersion,
        ),
        (
            overrides(json!({ "users": { alice().as_str(): 100 } })),
            ErrorKind::InvalidRoomState,
        ),
        (
            overrides(json!({ "users": [] })),
            ErrorKind::InvalidRoomState,
        ),
        (
            overrides(json!({ "events": { "m.room.name": "50" } })),
            ErrorKind::InvalidRoomState,
        ),
        (
            with_state("m.room.member", carol().to_string(), joined),
            ErrorKind::InvalidRoomState,
        ),
        (
            with_state("m.x", String::new(), json!({ "n": 1.5 })),
            ErrorKind::BadJson,
        ),
        (
            CreateRoom {
                creation_content: object(json!({ "additional_creators": ["nobody"] })),
                ..public()
            },
            ErrorKind::BadJson,
        ),
    ];
    for (request, expected) in attempts {
        let result = server
            .create(&sender(&alice()), Profile::default(), request.clone())
            .await;
        assert_eq!(error_kind(result), expected, "{request:?}");
    }
    assert_eq!(server.position().await, 0);
    assert!(
        server
            .joined_rooms(&alice())
            .await
            .expect("rooms")
            .is_empty()
    );
}

#[tokio::test]
async fn a_taken_alias_prevents_the_room() {
    let server = Server::start().await;
    let request = || CreateRoom {
        alias: Some(owned_room_alias_id!("#plaza:test.localhost")),
        ..public()
    };
    let first = made(&server, request()).await;
    let position = server.position().await;
    let second = server
        .create(&sender(&bob()), Profile::default(), request())
        .await;
    assert!(matches!(second, Err(Error::AliasTaken(_))));
    assert_eq!(server.position().await, position);
    let alias = owned_room_alias_id!("#plaza:test.localhost");
    assert_eq!(server.resolve_alias(&alias).await.expect("found"), first);
}

#[tokio::test]
async fn of_two_rooms_made_at_once_one_gets_the_alias() {
    let server = Server::start().await;
    let request = || CreateRoom {
        alias: Some(owned_room_alias_id!("#plaza:test.localhost")),
        ..public()
    };
    let (alice, bob) = (sender(&alice()), sender(&bob()));
    let (one, other) = tokio::join!(
        server.create(&alice, Profile::default(), request()),
        server.create(&bob, Profile::default(), request()),
    );
    let (made, refused) = match (one, other) {
        (Ok(made), Err(refused)) | (Err(refused), Ok(made)) => (made, refused),
        other => panic!("one of two: {other:?}"),
    };
    assert!(matches!(refused, Error::AliasTaken(_)), "{refused:?}");
    let alias = owned_room_alias_id!("#plaza:test.localhost");
    assert_eq!(server.resolve_alias(&alias).await.expect("found"), made);
}

#[tokio::test]
async fn users_of_other_servers_cannot_be_invited() {
    let server = Server::start().await;
    let stranger = ruma::owned_user_id!("@eve:elsewhere.example");
    let request = CreateRoom {
        invite: vec![(stranger, Profile::default())],
        ..public()
    };
    let result = server
        .create(&sender(&alice()), Profile::default(), request)
        .await;
    assert_eq!(error_kind(result), ErrorKind::Forbidden);
    assert_eq!(server.position().await, 0);
}

#[tokio::test]
async fn text_with_nul_is_refused() {
    let server = Server::start().await;
    for (event_type, state_key) in [("m.\0", "key"), ("m.x", "\0")] {
        let request = CreateRoom {
            initial_state: vec![(event_type.into(), state_key.to_owned(), raw(&json!({})))],
            ..public()
        };
        let refused = server
            .create(&sender(&alice()), Profile::default(), request)
            .await;
        assert_eq!(error_kind(refused), ErrorKind::BadJson);
    }
}
