use serde_json::json;

use super::*;
use crate::fixture::{ALICE, BOB, CAROL, Room, user};

fn levels(room: &Room) -> PowerLevels {
    PowerLevels::of(&room.state, &room.version)
}

#[test]
fn defaults_hold_without_a_power_levels_event() {
    for number in ["10", "11", "12"] {
        let mut room = Room::with_create_event(number, json!({}));
        room.join(ALICE).unwrap();
        let levels = levels(&room);
        let creator = if number == "12" {
            PowerLevel::Infinite
        } else {
            PowerLevel::Value(100)
        };
        assert_eq!(levels.user(user(ALICE)), creator);
        assert_eq!(levels.user(user(BOB)), PowerLevel::Value(0));
        assert_eq!(
            (
                levels.ban(),
                levels.kick(),
                levels.redact(),
                levels.invite()
            ),
            (50, 50, 50, 0)
        );
        assert_eq!((levels.events_default(), levels.state_default()), (0, 50));
        assert_eq!(levels.notifications_room(), 50);
        assert_eq!(levels.users_default(), 0);
    }
}

#[test]
fn power_levels_are_read_from_the_event() {
    let mut room = Room::new("11");
    room.set(
        ALICE,
        "m.room.power_levels",
        "",
        json!({
            "users": {ALICE: 100, BOB: 20}, "users_default": 5, "events_default": 7,
            "state_default": 21, "ban": 22, "kick": 20, "invite": 23, "redact": 20,
            "events": {"m.room.topic": 1, "m.room.message": 6},
            "notifications": {"room": 33},
        }),
    )
    .unwrap();
    let levels = levels(&room);
    assert_eq!(levels.user(user(BOB)), 20);
    assert_eq!(levels.user(user(CAROL)), 5);
    assert_eq!(levels.to_send("m.room.topic", true), 1);
    assert_eq!(levels.to_send("m.room.name", true), 21);
    assert_eq!(levels.to_send("m.room.message", false), 6);
    assert_eq!(levels.to_send("m.reaction", false), 7);
    assert!(levels.can_send(user(BOB), "m.reaction", false));
    assert!(!levels.can_send(user(CAROL), "m.reaction", false));
    assert!(levels.can_redact_others(user(BOB)) && !levels.can_redact_others(user(CAROL)));
    assert_eq!(levels.notifications_room(), 33);
    assert_eq!((levels.ban(), levels.kick(), levels.invite()), (22, 20, 23));
    let users: Vec<_> = levels
        .users()
        .map(|(user, level)| (user.as_str(), level))
        .collect();
    assert_eq!(
        users,
        [
            (ALICE, PowerLevel::Value(100)),
            (BOB, PowerLevel::Value(20))
        ]
    );
}

#[test]
fn creators_of_version_12_have_infinite_power() {
    let mut room = Room::with_create_event("12", json!({"additional_creators": [BOB]}));
    room.join(ALICE).unwrap();
    let most = 9_007_199_254_740_991_i64;
    room.set(
        ALICE,
        "m.room.power_levels",
        "",
        json!({"ban": most, "users": {CAROL: most}}),
    )
    .unwrap();
    let levels = levels(&room);
    assert!(levels.user(user(ALICE)) > most && levels.user(user(BOB)) > levels.ban());
    assert_eq!(levels.user(user(CAROL)), most);
    assert!(levels.user(user(CAROL)) < levels.user(user(BOB)));
    assert_eq!(levels.users().count(), 3);
    assert_eq!(PowerLevel::Infinite.to_string(), "infinite");
}

#[test]
fn texts_count_as_integers_before_version_10_only() {
    let content = json!({"users": {ALICE: "100"}, "kick": " 60 ", "events": {"m.room.name": "7"}});
    let mut room = Room::with_create_event("9", json!({}));
    room.join(ALICE).unwrap();
    room.set(ALICE, "m.room.power_levels", "", content.clone())
        .unwrap();
    let levels = levels(&room);
    assert_eq!(levels.user(user(ALICE)), 100);
    assert_eq!(levels.kick(), 60);
    assert_eq!(levels.to_send("m.room.name", true), 7);

    let mut room = Room::with_create_event("10", json!({}));
    room.join(ALICE).unwrap();
    assert!(room.set(ALICE, "m.room.power_levels", "", content).is_err());
}

#[test]
fn a_malformed_field_counts_as_absent() {
    let room = Room::with_create_event("12", json!({}));
    let content = json!({"kick": true, "ban": 3, "users": 5, "events": {"m.room.name": "x"}});
    let event = room
        .build(ALICE, "m.room.power_levels", Some(""), content)
        .unwrap();
    let levels = PowerLevels::from_events(None, Some(&event), &room.version);
    assert_eq!(
        (
            levels.kick(),
            levels.ban(),
            levels.to_send("m.room.name", true)
        ),
        (50, 3, 50)
    );
    assert_eq!(levels.user(user(ALICE)), 0);
}
