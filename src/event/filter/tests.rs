use ruma::room_id;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{ALICE, BOB, Room, user};

fn filter(json: Value) -> EventFilter {
    EventFilter::from(&serde_json::from_value::<RoomEventFilter>(json).unwrap())
}

#[test]
fn excluded_types_win_and_stars_match_any_text() {
    let filter = filter(json!({ "types": ["m.room.*"], "not_types": ["m.room.topic"] }));
    assert!(filter.allows_type("m.room.message"));
    assert!(!filter.allows_type("m.room.topic"));
    assert!(!filter.allows_type("m.reaction"));
}

#[test]
fn an_empty_list_selects_nothing_and_an_absent_one_everything() {
    assert!(!filter(json!({ "types": [] })).allows_type("m.room.message"));
    assert!(!filter(json!({ "rooms": [] })).allows_room(room_id!("!a:example.org")));
    assert!(filter(json!({})).allows_type("m.room.message"));
    assert!(filter(json!({})).allows_room(room_id!("!a:example.org")));
}

#[test]
fn excluded_rooms_win() {
    let (here, there) = (room_id!("!a:example.org"), room_id!("!b:example.org"));
    let filter = filter(json!({ "rooms": [here, there], "not_rooms": [there] }));
    assert!(filter.allows_room(here));
    assert!(!filter.allows_room(there));
}

#[test]
fn events_are_selected_by_sender_url_and_room() {
    let mut room = Room::new("12");
    let message = room.message(ALICE).unwrap();
    let content = json!({ "msgtype": "m.image", "body": "cat", "url": "mxc://example.org/cat" });
    let image = room.send(ALICE, "m.room.message", None, content).unwrap();
    let selected = |json: Value| {
        let filter = filter(json);
        (filter.allows(&message), filter.allows(&image))
    };
    assert_eq!(selected(json!({ "senders": [ALICE] })), (true, true));
    assert_eq!(selected(json!({ "senders": [BOB] })), (false, false));
    assert_eq!(selected(json!({ "not_senders": [ALICE] })), (false, false));
    assert_eq!(selected(json!({ "contains_url": true })), (false, true));
    assert_eq!(selected(json!({ "contains_url": false })), (true, false));
    let here = message.room_id();
    assert_eq!(selected(json!({ "rooms": [here] })), (true, true));
    assert_eq!(selected(json!({ "not_rooms": [here] })), (false, false));
}

#[test]
fn only_a_filter_without_conditions_selects_all_events() {
    assert!(filter(json!({ "rooms": ["!a:example.org"], "limit": 3 })).allows_all_events());
    for conditions in [
        json!({ "types": ["*"] }),
        json!({ "not_senders": [user(BOB)] }),
        json!({ "contains_url": false }),
    ] {
        assert!(!filter(conditions).allows_all_events());
    }
}
