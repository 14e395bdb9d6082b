use ruma::room_id;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{ALICE, Room};

fn summary(number: &str, settings: &[(&str, Value)]) -> RoomSummary {
    let mut room = Room::new(number);
    for (event_type, content) in settings {
        room.set(ALICE, event_type, "", content.clone()).unwrap();
    }
    let version = room.version.id().clone();
    let room_id = room_id!("!room:example.org").to_owned();
    RoomSummary::of(room_id, Some(version), &room.state, 1)
}

#[test]
fn restricted_room_names_the_rooms_whose_members_may_join() {
    let rules = json!({
        "join_rule": "restricted",
        "allow": [
            { "type": "m.room_membership", "room_id": "!space:example.org" },
            { "type": "org.example.other", "room_id": "!other:example.org" },
            { "type": "m.room_membership" },
        ],
    });
    let restricted = summary("10", &[("m.room.join_rules", rules)]);
    let space = room_id!("!space:example.org").to_owned();
    assert_eq!(restricted.allowed_rooms, [space]);
    let json = serde_json::to_value(&restricted).unwrap();
    assert_eq!(json["allowed_room_ids"], json!(["!space:example.org"]));
    let rules = json!({ "join_rule": "invite", "allow": [
        { "type": "m.room_membership", "room_id": "!space:example.org" },
    ]});
    let invite = summary("10", &[("m.room.join_rules", rules)]);
    assert!(invite.allowed_rooms.is_empty());
    let json = serde_json::to_value(&invite).unwrap();
    assert_eq!(json.get("allowed_room_ids"), None);
}

#[test]
fn room_is_open_by_its_join_rule_or_its_history() {
    let rule = |rule: &str| ("m.room.join_rules", json!({ "join_rule": rule }));
    let readable = json!({ "history_visibility": "world_readable" });
    assert!(summary("10", &[rule("public")]).is_open());
    assert!(summary("10", &[rule("knock_restricted")]).is_open());
    assert!(!summary("10", &[rule("invite")]).is_open());
    // Nobody can knock at a room of that version.
    assert!(!summary("6", &[rule("knock")]).is_open());
    let history = ("m.room.history_visibility", readable);
    assert!(summary("10", &[rule("invite"), history]).is_open());
}

#[test]
fn summary_is_written_with_the_names_of_the_specification() {
    let room = summary(
        "10",
        &[
            ("m.room.name", json!({ "name": "Council" })),
            ("m.room.topic", json!({ "topic": "" })),
            (
                "m.room.encryption",
                json!({ "algorithm": "m.megolm.v1.aes-sha2" }),
            ),
            ("m.room.join_rules", json!({ "join_rule": "knock" })),
        ],
    );
    assert_eq!(
        serde_json::to_value(&room).unwrap(),
        json!({
            "room_id": "!room:example.org",
            "num_joined_members": 1,
            "name": "Council",
            "join_rule": "knock",
            "world_readable": false,
            "guest_can_join": false,
            "encryption": "m.megolm.v1.aes-sha2",
            "room_version": "10",
        })
    );
}
