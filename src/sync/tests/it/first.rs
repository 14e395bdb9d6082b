//! The first sync of a device.

use serde_json::json;
use testkit::room::TestRoom;

use crate::support::{alice, bob, bodies, event_types, filter, request, server, set_topic};

#[tokio::test]
async fn first_sync_has_the_timeline_and_the_state_before_it() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    for n in 0..12 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    let answer = server.sync(&alice(), None).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    let shown: Vec<String> = (2..12).map(|n| n.to_string()).collect();
    assert_eq!(bodies(&section["timeline"]["events"]), shown);
    assert_eq!(section["timeline"]["limited"], true);
    let state = event_types(&section["state"]["events"]);
    assert_eq!(
        state,
        [
            "m.room.create",
            "m.room.guest_access",
            "m.room.history_visibility",
            "m.room.join_rules",
            "m.room.member",
            "m.room.power_levels"
        ]
    );
    assert_eq!(section["summary"]["m.joined_member_count"], 1);
}

#[tokio::test]
async fn state_inside_the_timeline_is_not_in_the_state_section() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    set_topic(&server, &room, "one").await;
    for n in 0..8 {
        room.message(&server.db, &alice(), &n.to_string()).await;
    }
    set_topic(&server, &room, "two").await;

    let answer = server.sync(&alice(), None).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    // The timeline begins with the first topic, so that the state before it has none.
    assert!(!event_types(&section["state"]["events"]).contains(&"m.room.topic"));
    let last = &section["timeline"]["events"][9];
    assert_eq!(last["content"]["topic"], "two");
    assert_eq!(last["unsigned"]["prev_content"]["topic"], "one");
    assert_eq!(last["unsigned"]["membership"], "join");
    assert!(last["unsigned"]["replaces_state"].is_string());
    assert!(last.get("room_id").is_none());

    let mut after = request(&alice(), None);
    after.use_state_after = true;
    let answer = server.ask(&after).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    assert!(section.get("state").is_none());
    let events = section["state_after"]["events"].as_array().unwrap();
    let topic = events
        .iter()
        .find(|event| event["type"] == "m.room.topic")
        .unwrap();
    assert_eq!(topic["content"]["topic"], "two");
}

#[tokio::test]
async fn invitation_shows_stripped_state_with_the_create_event() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.state(
        &server.db,
        &alice(),
        "m.room.name",
        "",
        json!({ "name": "Den" }),
    )
    .await;
    room.member(&server.db, &alice(), &bob(), "invite").await;
    let answer = server.sync(&bob(), None).await;
    let events = &answer["rooms"]["invite"][room.room_id.as_str()]["invite_state"]["events"];
    let shown = event_types(events);
    for event_type in ["m.room.create", "m.room.name", "m.room.join_rules"] {
        assert!(shown.contains(&event_type), "{event_type} in {shown:?}");
    }
    let own = events.as_array().unwrap().last().unwrap();
    assert_eq!(own["state_key"], bob().as_str());
    assert_eq!(own["content"]["membership"], "invite");
    assert!(own.get("event_id").is_none());
}

#[tokio::test]
async fn lazy_loading_returns_only_members_of_senders() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    let users: Vec<ruma::OwnedUserId> = (0..20)
        .map(|n| format!("@user{n}:test.localhost").try_into().unwrap())
        .collect();
    room.state(
        &server.db,
        &alice(),
        "m.room.name",
        "",
        json!({ "name": "Hall" }),
    )
    .await;
    for user_id in &users {
        room.member(&server.db, user_id, user_id, "join").await;
    }
    for n in 0..10 {
        room.message(&server.db, &users[3], &n.to_string()).await;
    }
    let mut lazy = request(&alice(), None);
    lazy.filter = filter(json!({ "room": { "state": { "lazy_load_members": true } } }));
    let answer = server.ask(&lazy).await;
    let section = &answer["rooms"]["join"][room.room_id.as_str()];
    let members: Vec<_> = section["state"]["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "m.room.member")
        .map(|event| event["state_key"].as_str().unwrap())
        .collect();
    // Itself, because the whole state is told, and the one who speaks.
    assert_eq!(members, [alice().as_str(), users[3].as_str()]);
    assert_eq!(section["summary"]["m.joined_member_count"], 21);
}

#[tokio::test]
async fn heroes_name_a_room_that_has_no_name() {
    let server = server().await;
    let room = TestRoom::create(&server.db, &alice()).await;
    room.member(&server.db, &alice(), &bob(), "invite").await;
    let answer = server.sync(&alice(), None).await;
    let summary = &answer["rooms"]["join"][room.room_id.as_str()]["summary"];
    assert_eq!(summary["m.heroes"], json!([bob()]));
    assert_eq!(summary["m.invited_member_count"], 1);
    room.state(
        &server.db,
        &alice(),
        "m.room.name",
        "",
        json!({ "name": "Den" }),
    )
    .await;
    let answer = server.sync(&alice(), None).await;
    let summary = &answer["rooms"]["join"][room.room_id.as_str()]["summary"];
    assert!(summary.get("m.heroes").is_none());
}

#[tokio::test]
async fn initial_sync_returns_the_default_push_rules() {
    let server = server().await;
    let answer = server.sync(&alice(), None).await;
    assert_eq!(
        event_types(&answer["account_data"]["events"]),
        ["m.push_rules"]
    );
    assert!(answer["device_one_time_keys_count"].is_object());
    assert!(answer["device_unused_fallback_key_types"].is_array());
}
