use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::{ALICE, BOB, CAROL, Room, user};

#[test]
fn a_clone_does_not_follow_its_original() {
    let mut room = Room::new("12");
    let before = room.state.clone();
    room.join(BOB).unwrap();
    assert_eq!(before.membership(user(BOB)), MembershipState::Leave);
    assert_eq!(room.state.membership(user(BOB)), MembershipState::Join);
    assert_eq!(room.state.len(), before.len() + 1);
}

#[test]
fn insert_returns_what_it_replaces_and_ignores_messages() {
    let mut room = Room::new("12");
    let first = room
        .set(ALICE, "m.room.topic", "", json!({"topic": "1"}))
        .unwrap();
    let second = room
        .set(ALICE, "m.room.topic", "", json!({"topic": "2"}))
        .unwrap();
    let mut state = State::new();
    assert!(state.is_empty());
    assert!(state.insert(first.clone()).is_none());
    assert_eq!(
        state.insert(second.clone()).unwrap().event_id(),
        first.event_id()
    );
    assert!(state.insert(room.message(ALICE).unwrap()).is_none());
    assert_eq!(state.len(), 1);
    assert_eq!(
        state.remove("m.room.topic", "").unwrap().event_id(),
        second.event_id()
    );
    assert!(state.remove("m.room.topic", "").is_none() && state.is_empty());
}

#[test]
fn the_events_of_one_type_are_found_in_order() {
    let mut room = Room::new("12");
    room.join(CAROL).unwrap();
    room.join(BOB).unwrap();
    room.set(ALICE, "m.room.members", ALICE, json!({})).unwrap();
    let members: Vec<_> = room
        .state
        .of_type("m.room.member")
        .map(|e| e.state_key())
        .collect();
    assert_eq!(members, [Some(ALICE), Some(BOB), Some(CAROL)]);
    assert_eq!(room.state.of_type("m.room.name").count(), 0);
    assert_eq!(room.state.iter().count(), room.state.len());
}

#[test]
fn lookups_by_type_agree_with_lookups_by_text() {
    let room = Room::new("12");
    for event in room.state.iter() {
        let (event_type, key) = (event.event_type(), event.state_key().unwrap());
        let by_type = room.state.event(&event_type.into(), key).unwrap();
        assert_eq!(
            by_type.event_id(),
            room.state.get(event_type, key).unwrap().event_id()
        );
        assert!(room.state.event(&event_type.into(), "other").is_none());
    }
    assert!(room.state.event(&StateEventType::RoomName, "").is_none());
}

proptest! {
    #[test]
    fn diff_names_what_changed(
        before in prop::collection::vec((0..3_u8, 0..4_u8), 0..12),
        after in prop::collection::vec((0..3_u8, 0..4_u8), 0..12),
    ) {
        let room = Room::new("12");
        let event = |&(event_type, key): &(u8, u8), n: usize| {
            let (event_type, key) = (format!("t{event_type}"), format!("k{key}"));
            Arc::new(room.build(ALICE, &event_type, Some(&key), json!({"n": n})).unwrap())
        };
        let old: State = before.iter().enumerate().map(|(n, place)| event(place, n)).collect();
        let mut new = old.clone();
        for (n, place) in after.iter().enumerate() {
            new.insert(event(place, n));
        }
        let table = |state: &State| -> BTreeMap<(String, String), String> {
            let row = |e: &Arc<Pdu>| {
                ((e.event_type().to_owned(), e.state_key().unwrap().to_owned()), e.event_id().to_string())
            };
            state.iter().map(row).collect()
        };
        let mut replayed = old.clone();
        for (gone, come) in old.diff(&new) {
            prop_assert_ne!(
                gone.map(|e| e.event_id()), come.map(|e| e.event_id())
            );
            match come {
                Some(event) => drop(replayed.insert(event.clone())),
                None => drop(replayed.remove(gone.unwrap().event_type(), gone.unwrap().state_key().unwrap())),
            }
        }
        prop_assert_eq!(table(&replayed), table(&new));
        prop_assert_eq!(new.diff(&new.clone()).count(), 0);
    }
}
